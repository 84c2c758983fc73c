/* gradients.h for one instruction-set level. */

#define AT(array) (*(REALS *)((array) + j))

/* A statement for each vector of a tile: numbers j and on, of lanes `lane` and on. */
#define EACH_VECTOR(STATEMENT) \
    for (int64_t first = 0, size = width == 1 ? n : width; first < n; first += size) \
        for (int64_t lane = 0, j = first; lane < size; lane += N_REALS, j += N_REALS) { \
            STATEMENT; \
        }

/* A statement for each term of a sum over patterns: vector `at` of a tile goes to numbers j and on of the partial sums (8, width). */
#define EACH_TERM(STATEMENT) \
    for (int64_t first = 0; first < n; first += 8 * width) \
        for (int64_t j = 0, at = first; j < 8 * width; j += N_REALS, at += N_REALS) { \
            STATEMENT; \
        }

/* Numbers of these lanes of a row (width,). */
INLINE REALS FN(gradients_lanes)(const double *row, int64_t width, int64_t lane)
{
    if (width == 1)
        return REALS_ALL(row[0]);
    return *(const REALS *)(row + lane);
}

/* Losses, and forces in place of the fields, of `tile` patterns from `mu` on, whose fields (n_units, stretch, width) begin at `field`.
 * `second`: weights of the second layer (n_units, width), or NULL: all 1. Adds to the partial sums of the energy, and of the gradient of
 * `second`. */
INLINE void FN(gradients_tile)(const gradient_model *m, int64_t mu, double *field, const double *second, int want_force)
{
    const products *p = &m->products;
    const int64_t width = p->width, n = m->tile * width, plane = m->stretch * width;
    double *output = m->scratch, *loss = output + n, *slope = loss + n, *unit = slope + n;
    if (second)
        memset(output, 0, sizeof(double) * n);
    for (int64_t k = 0; k < p->n_units; k++) {
        double *g = second ? unit + k * n : k == 0 ? output : unit;
        m->respond(field + k * plane, n, m->unit_scale, g, field + k * plane);
        if (second)
            EACH_VECTOR(AT(output) += FN(gradients_lanes)(second + k * width, width, lane) * AT(g))
        else if (k > 0 && m->parity)
            EACH_VECTOR(AT(output) *= AT(g))
        else if (k > 0)
            EACH_VECTOR(AT(output) += AT(g))
    }
    EACH_VECTOR(AT(output) *= m->output_scale)
    m->slopes(m->labels + mu, output, m->tile, width, &m->params, loss, slope);
    for (int64_t j = (p->n_patterns - mu) * width; j < n; j++)
        loss[j] = slope[j] = 0; /* patterns that are padding have no energy and exert no force */
    EACH_TERM(AT(m->energy) += *(const REALS *)(loss + at))
    if (!want_force)
        return;
    EACH_VECTOR(AT(slope) *= m->output_scale)
    for (int64_t k = 0; k < p->n_units; k++) {
        double *force = field + k * plane;
        if (second) {
            EACH_TERM(AT(m->pull + k * 8 * width) += *(const REALS *)(slope + at) * *(const REALS *)(unit + k * n + at))
            EACH_VECTOR(AT(force) *= FN(gradients_lanes)(second + k * width, width, lane))
        }
        EACH_VECTOR(AT(force) *= AT(slope) * m->unit_scale)
    }
}

#undef AT
#undef EACH_VECTOR
#undef EACH_TERM

/* The eight partial sums (8, width) of a sum over patterns, added pairwise, to out (width,). */
INLINE void FN(gradients_total)(double *sum, int64_t width, double *out)
{
    for (int64_t half = 4; half > 0; half /= 2)
        for (int64_t j = 0; j < half * width; j++)
            sum[j] += sum[half * width + j];
    memcpy(out, sum, sizeof(double) * width);
}

ISA_CODE void FN(gradients_evaluate)(void *model, const double *weights, double *energy, double *gradient)
{
    const gradient_model *m = model;
    const products *p = &m->products;
    const int64_t width = p->width, unit_weights = p->fan_in * width, sums = 8 * width;
    const double *second = m->second_layer ? weights + p->n_units * unit_weights : NULL;
    memset(m->energy, 0, sizeof(double) * sums);
    if (second)
        memset(m->pull, 0, sizeof(double) * p->n_units * sums);
    for (int64_t first = 0; first < p->n_patterns; first += m->stretch) {
        const int64_t n = p->rows - first < m->stretch ? p->rows - first : m->stretch;
        int64_t used = 0;
        for (int64_t k = 0; k < p->n_units; k++)
            m->forward(p, k, weights + k * unit_weights, first, n, m->field + k * m->stretch * width);
        for (; used < n && first + used < p->n_patterns; used += m->tile)
            FN(gradients_tile)(m, first + used, m->field + used * width, second, gradient != NULL);
        for (int64_t k = p->n_units - 1; gradient && k >= 0; k--) { /* the inputs of the last unit are in the first cache */
            double *force = m->field + k * m->stretch * width;
            for (int64_t j = used * width; j < n * width; j++)
                force[j] = 0;
            m->backward(p, k, force, first, n, gradient + k * unit_weights);
        }
    }
    FN(gradients_total)(m->energy, width, energy);
    for (int64_t k = 0; gradient && second && k < p->n_units; k++)
        FN(gradients_total)(m->pull + k * sums, width, gradient + p->n_units * unit_weights + k * width);
}
