/* moves.h for one instruction-set level: passes over numbers x[i][lane] of a pack, or of one of its units.
 *
 * `count` numbers, from weight 0 of what is passed over. Coefficients repeat after `lanes` numbers: one per lane, or for a pack of one
 * walker eight copies. Sums of squares and products go to `partial` (8, width): weight i adds to partial sum i % 8 of its lane, that is
 * number j to partial[j % period] with period = 8 width. NULL: no sum.
 */

#define AT(array) (*(NUMBER *)((array) + j))
#define COEFFICIENT(array) (*(const NUMBER *)((array) + lane))

/* For every number, by vectors while they last and then one by one: elementwise, so the same either way. */
#define EACH_NUMBER(...) \
    do { \
        int64_t j = 0, lane = 0, sum = 0; \
        for (; j + N_REALS <= count; j += N_REALS) { \
            typedef REALS NUMBER; \
            __VA_ARGS__ \
            lane = lane + N_REALS < lanes ? lane + N_REALS : 0; \
            sum = sum + N_REALS < period ? sum + N_REALS : 0; \
        } \
        for (; j < count; j++) { \
            typedef double NUMBER; \
            __VA_ARGS__ \
            lane = lane + 1 < lanes ? lane + 1 : 0; \
            sum = sum + 1 < period ? sum + 1 : 0; \
        } \
    } while (0)

/* out = a x + b y; sums out^2. */
ISA_CODE void FN(moves_combine)(int64_t count, int64_t lanes, int64_t period, const double *a, const double *x, const double *b,
                                const double *y, double *out, double *partial)
{
    EACH_NUMBER({
        const NUMBER z = COEFFICIENT(a) * AT(x) + COEFFICIENT(b) * AT(y);
        AT(out) = z;
        *(NUMBER *)(partial + sum) += z * z;
    });
}

/* p -= a g + b w; sums p^2. */
ISA_CODE void FN(moves_kick)(int64_t count, int64_t lanes, int64_t period, const double *a, const double *g, const double *b,
                             const double *w, double *p, double *partial)
{
    EACH_NUMBER({
        const NUMBER z = AT(p) - (COEFFICIENT(a) * AT(g) + COEFFICIENT(b) * AT(w));
        AT(p) = z;
        *(NUMBER *)(partial + sum) += z * z;
    });
}

/* p -= a w; sums p^2. */
ISA_CODE void FN(moves_subtract)(int64_t count, int64_t lanes, int64_t period, const double *a, const double *w, double *p, double *partial)
{
    EACH_NUMBER({
        const NUMBER z = AT(p) - COEFFICIENT(a) * AT(w);
        AT(p) = z;
        *(NUMBER *)(partial + sum) += z * z;
    });
}

/* Sums x y. */
ISA_CODE void FN(moves_product)(int64_t count, int64_t lanes, int64_t period, const double *x, const double *y, double *partial)
{
    EACH_NUMBER({ *(NUMBER *)(partial + sum) += AT(x) * AT(y); });
}

/* out = c w + s p, p = c p - m w; sums out^2. */
ISA_CODE void FN(moves_rotate)(int64_t count, int64_t lanes, int64_t period, const double *c, const double *s, const double *m,
                               const double *w, double *p, double *out, double *partial)
{
    EACH_NUMBER({
        const NUMBER x = AT(w);
        const NUMBER y = AT(p);
        const NUMBER z = COEFFICIENT(c) * x + COEFFICIENT(s) * y;
        AT(p) = COEFFICIENT(c) * y - COEFFICIENT(m) * x;
        AT(out) = z;
        *(NUMBER *)(partial + sum) += z * z;
    });
}

/* out = x y, number by number. */
ISA_CODE void FN(moves_multiply)(int64_t count, int64_t lanes, int64_t period, const double *x, const double *y, double *out)
{
    EACH_NUMBER({ AT(out) = AT(x) * AT(y); });
}

/* x *= a. */
ISA_CODE void FN(moves_scale)(int64_t count, int64_t lanes, int64_t period, const double *a, double *x)
{
    EACH_NUMBER({ AT(x) *= COEFFICIENT(a); });
}

/* x = y in the lanes whose mask is all ones. x, y: (n, width). */
ISA_CODE void FN(moves_accept)(int64_t n, int64_t width, const int64_t *mask, double *x, const double *y)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < width; r++) {
            int64_t old, new;
            memcpy(&old, x + i * width + r, sizeof old);
            memcpy(&new, y + i * width + r, sizeof new);
            old = (old & ~mask[r]) | (new & mask[r]);
            memcpy(x + i * width + r, &old, sizeof old);
        }
}

#undef AT
#undef COEFFICIENT
#undef EACH_NUMBER
