/* Products with real inputs, see products.h. Included by products_body.h for each precision. */

#define TILE_ROWS (ISA_LEVEL == 2 ? 8 : 4) /* of a tile at a time: as many as there are registers for */
#define PANEL 3                            /* vectors of walkers in a panel, at most */

/* sum[m][v] += sum over k < n of a[k][m] b[k][v]; a (n, TILE) from its first row on, b (n, vectors N_VR) */
INLINE void RN(real_tile)(const REAL *a, const REAL *b, int64_t n, const int vectors, int64_t ahead, VR sum[TILE_ROWS][PANEL])
{
    for (int64_t k = 0; k < n; k++) {
        VR x[PANEL];
        __builtin_prefetch(a + k * TILE + ahead, 0, 2);
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            x[v] = *(const VR *)(b + (k * vectors + v) * N_VR);
#pragma GCC unroll 8
        for (int m = 0; m < TILE_ROWS; m++) {
            const VR factor = VR_ALL(a[k * TILE + m]);
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                sum[m][v] = RN(multiply_add)(factor, x[v], sum[m][v]);
        }
    }
}

/* The rows of a tile from `a` on with a panel: out (TILE_ROWS, width), `lanes` of which are walkers. Sums over n terms, `split`
 * into ORDER partial sums or not; a and b have the terms of a partial sum together. */
INLINE void RN(real_block)(const REAL *a, const REAL *b, int64_t n, const int split, const int vectors, double *out, int64_t width, int64_t lanes)
{
    const int64_t size = vectors * N_VR, order = split ? ORDER : 1;
    REAL partial[16 * TILE_ROWS * PANEL * N_VR] __attribute__((aligned(64))); /* (order, TILE_ROWS, size) */
    for (int64_t j = 0; j < order; j++) {
        const int64_t terms = (n - j + order - 1) / order;
        VR sum[TILE_ROWS][PANEL];
#pragma GCC unroll 8
        for (int m = 0; m < TILE_ROWS; m++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                sum[m][v] = VR_ALL(0);
        RN(real_tile)(a, b, terms, vectors, n * TILE, sum);
#pragma GCC unroll 8
        for (int m = 0; m < TILE_ROWS; m++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                *(VR *)(partial + (j * TILE_ROWS + m) * size + v * N_VR) = sum[m][v];
        a += terms * TILE;
        b += terms * size;
    }
    for (int64_t half = order / 2, row = TILE_ROWS * size; half > 0; half /= 2)
        for (int64_t k = 0; k < half * row; k++)
            partial[k] += partial[half * row + k];
    for (int m = 0; m < TILE_ROWS; m++)
        for (int64_t lane = 0; lane < lanes && lane < size; lane++)
            out[m * width + lane] = partial[m * size + lane];
}

/* Vectors of the panel that begins where `left` of them are left: no panel of 1 where 2 + 2 will do. */
INLINE int RN(real_panel)(int64_t left)
{
    return left == 4 ? 2 : left < PANEL ? (int)left : PANEL;
}

/* Packs lanes first .. of x (n, width) into a panel (n in the order of the sums, vectors N_VR), lanes beyond the width 0. */
INLINE void RN(real_pack)(const double *x, int64_t n, const int split, int64_t width, int64_t first, int64_t size, REAL *panel)
{
    const int64_t lanes = width - first < size ? width - first : size, order = split ? ORDER : 1;
    for (int64_t j = 0; j < order; j++)
        for (int64_t i = j; i < n; i += order, panel += size) {
            for (int64_t lane = 0; lane < lanes; lane++)
                panel[lane] = (REAL)x[i * width + first + lane];
            for (int64_t lane = lanes; lane < size; lane++)
                panel[lane] = 0;
        }
}

/* out (n_out, width) = sums over n terms of tiles (n_out / TILE, n, TILE) times x (n, width); n_out need not fill the last tile. */
INLINE void RN(real_product)(const products *p, const REAL *tiles, int64_t n_out, const double *x, int64_t n, const int split, double *out)
{
    const int64_t width = p->width, n_vectors = (width + N_VR - 1) / N_VR;
    REAL *panel = p->scratch;
    double last[TILE * PANEL * 16]; /* a tile that out has no room for */
    for (int64_t first = 0, left = n_vectors; left > 0; first += RN(real_panel)(left) * N_VR, left -= RN(real_panel)(left))
        RN(real_pack)(x, n, split, width, first, RN(real_panel)(left) * N_VR, panel + first * n);
    for (int64_t row = 0; row < n_out; row += TILE_ROWS) {
        const REAL *a = tiles + row / TILE * TILE * n + row % TILE;
        for (int64_t first = 0, left = n_vectors; left > 0;) {
            const int vectors = RN(real_panel)(left);
            const int64_t lanes = width - first < vectors * N_VR ? width - first : vectors * N_VR;
            const int whole = row + TILE_ROWS <= n_out;
            double *to = whole ? out + row * width + first : last;
            const int64_t stride = whole ? width : PANEL * 16;
            if (vectors == 3)
                RN(real_block)(a, panel + first * n, n, split, 3, to, stride, lanes);
            else if (vectors == 2)
                RN(real_block)(a, panel + first * n, n, split, 2, to, stride, lanes);
            else
                RN(real_block)(a, panel + first * n, n, split, 1, to, stride, lanes);
            if (!whole)
                for (int64_t m = 0; row + m < n_out; m++)
                    memcpy(out + (row + m) * width + first, last + m * stride, sizeof(double) * lanes);
            first += vectors * N_VR;
            left -= vectors;
        }
    }
}

/* One walker: rows (n, row_length) times x (row_length,), the lanes being the partial sums. */
INLINE void RN(real_rows)(const REAL *rows, int64_t n, int64_t length, const REAL *x, double *out)
{
    enum { PARTS = 64 / VEC_BYTES }; /* n is a multiple of TILE */
    for (int64_t mu = 0; mu < n; mu += TILE_ROWS) {
        VR sum[TILE_ROWS][PARTS];
        REAL partial[TILE_ROWS][16] __attribute__((aligned(64)));
#pragma GCC unroll 8
        for (int m = 0; m < TILE_ROWS; m++)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++)
                sum[m][part] = VR_ALL(0);
        for (int64_t i = 0; i < length; i += ORDER)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++) {
                const VR factor = *(const VR *)(x + i + part * N_VR);
#pragma GCC unroll 8
                for (int m = 0; m < TILE_ROWS; m++)
                    sum[m][part] = RN(multiply_add)(*(const VR *)(rows + (mu + m) * length + i + part * N_VR), factor, sum[m][part]);
            }
#pragma GCC unroll 8
        for (int m = 0; m < TILE_ROWS; m++)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++)
                *(VR *)&partial[m][part * N_VR] = sum[m][part];
#pragma GCC unroll 4
        for (int half = ORDER / 2; half > 0; half /= 2) /* of all rows together: the compiler keeps them in registers */
#pragma GCC unroll 8
            for (int m = 0; m < TILE_ROWS; m++)
                for (int k = 0; k < half; k++)
                    partial[m][k] += partial[m][half + k];
        for (int m = 0; m < TILE_ROWS; m++)
            out[mu + m] = partial[m][0];
    }
}

/* One walker: sum (length,) += rows^T force, patterns in order. From the last input to the first: the last ones have just been read for the
 * fields. */
INLINE void RN(real_columns)(const REAL *rows, int64_t n, int64_t length, const double *force, REAL *sum)
{
    for (int64_t mu = 0; mu < n; mu += TILE) {
        VR factor[TILE];
#pragma GCC unroll 8
        for (int m = 0; m < TILE; m++)
            factor[m] = VR_ALL((REAL)force[mu + m]);
        for (int64_t i = length - N_VR; i >= 0; i -= N_VR) {
            VR total = *(const VR *)(sum + i);
#pragma GCC unroll 8
            for (int m = 0; m < TILE; m++)
                total = RN(multiply_add)(*(const VR *)(rows + (mu + m) * length + i), factor[m], total);
            *(VR *)(sum + i) = total;
        }
    }
}

ISA_CODE void RN(real_forward)(const products *p, int64_t unit, const double *weights, int64_t first, int64_t n, double *field)
{
    const int64_t view = p->n_views > 1 ? unit : 0, length = p->row_length;
    if (p->width > 1) {
        const REAL *tiles = (const REAL *)p->by_pattern + (view * p->rows + first) * p->fan_in;
        RN(real_product)(p, tiles, n, weights, p->fan_in, 1, field);
        return;
    }
    REAL *x = (REAL *)p->scratch + 2 * unit * length;
    for (int64_t i = 0; first == 0 && i < length; i++)
        x[i] = i < p->fan_in ? (REAL)weights[i] : 0;
    RN(real_rows)((const REAL *)p->by_pattern + (view * p->rows + first) * length, n, length, x, field);
}

ISA_CODE void RN(real_backward)(const products *p, int64_t unit, const double *force, int64_t first, int64_t n, double *gradient)
{
    const int64_t view = p->n_views > 1 ? unit : 0, length = p->row_length;
    if (p->width > 1) {
        const int64_t tiles = (p->fan_in + TILE - 1) / TILE;
        RN(real_product)(p, (const REAL *)p->by_input + view * tiles * p->rows * TILE, p->fan_in, force, n, 0, gradient);
        return;
    }
    REAL *sum = (REAL *)p->scratch + (2 * unit + 1) * length;
    if (first == 0)
        memset(sum, 0, sizeof(REAL) * length);
    RN(real_columns)((const REAL *)p->by_pattern + (view * p->rows + first) * length, n, length, force, sum);
    for (int64_t i = 0; first + n == p->rows && i < p->fan_in; i++)
        gradient[i] = sum[i];
}

#undef TILE_ROWS
#undef PANEL
