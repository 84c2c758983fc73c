/* passes.h for one instruction-set level. */

#define AT(array) (*(NUMBER *)((array) + j))
#define COEFFICIENT(array) (*(const NUMBER *)((array) + lane))
#define ADD_TO_SUM(term) *(NUMBER *)(partial + sum) += (term)

/* For every number of n weights, by vectors while they last and then one by one: elementwise, so the same either way. */
#define EACH_NUMBER(...) \
    do { \
        const int64_t count = n * s->width, lanes = s->lanes, period = 8 * s->width; \
        double *const partial __attribute__((unused)) = s->partial; \
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

/* out = a x + b y, |out|^2 to `square`. */
ISA_CODE void FN(pass_combine)(const passes *s, int64_t n, const double *a, const double *x, const double *b, const double *y, double *out,
                               double *square)
{
    passes_begin_sum(s);
    EACH_NUMBER({
        const NUMBER z = COEFFICIENT(a) * AT(x) + COEFFICIENT(b) * AT(y);
        AT(out) = z;
        ADD_TO_SUM(z * z);
    });
    passes_end_sum(s, square);
}

/* p -= a g + b w, |p|^2 to `square`. */
ISA_CODE void FN(pass_kick)(const passes *s, int64_t n, const double *a, const double *g, const double *b, const double *w, double *p,
                            double *square)
{
    passes_begin_sum(s);
    EACH_NUMBER({
        const NUMBER z = AT(p) - (COEFFICIENT(a) * AT(g) + COEFFICIENT(b) * AT(w));
        AT(p) = z;
        ADD_TO_SUM(z * z);
    });
    passes_end_sum(s, square);
}

/* p -= a w, |p|^2 to `square`. */
ISA_CODE void FN(pass_subtract)(const passes *s, int64_t n, const double *a, const double *w, double *p, double *square)
{
    passes_begin_sum(s);
    EACH_NUMBER({
        const NUMBER z = AT(p) - COEFFICIENT(a) * AT(w);
        AT(p) = z;
        ADD_TO_SUM(z * z);
    });
    passes_end_sum(s, square);
}

/* out = c w + d p, p = c p - m w, |out|^2 to `square`. */
ISA_CODE void FN(pass_rotate)(const passes *s, int64_t n, const double *c, const double *d, const double *m, const double *w, double *p,
                              double *out, double *square)
{
    passes_begin_sum(s);
    EACH_NUMBER({
        const NUMBER x = AT(w);
        const NUMBER y = AT(p);
        const NUMBER z = COEFFICIENT(c) * x + COEFFICIENT(d) * y;
        AT(p) = COEFFICIENT(c) * y - COEFFICIENT(m) * x;
        AT(out) = z;
        ADD_TO_SUM(z * z);
    });
    passes_end_sum(s, square);
}

/* x . y to `dot`. */
ISA_CODE void FN(pass_dot)(const passes *s, int64_t n, const double *x, const double *y, double *dot)
{
    passes_begin_sum(s);
    EACH_NUMBER({ ADD_TO_SUM(AT(x) * AT(y)); });
    passes_end_sum(s, dot);
}

/* out = x y, number by number. */
ISA_CODE void FN(pass_multiply)(const passes *s, int64_t n, const double *x, const double *y, double *out)
{
    EACH_NUMBER({ AT(out) = AT(x) * AT(y); });
}

/* x *= a. */
ISA_CODE void FN(pass_scale)(const passes *s, int64_t n, const double *a, double *x)
{
    EACH_NUMBER({ AT(x) *= COEFFICIENT(a); });
}

/* x = y in the lanes whose mask (width,) is all ones. */
ISA_CODE void FN(pass_replace)(const passes *s, int64_t n, const int64_t *mask, double *x, const double *y)
{
    const int64_t width = s->width;
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
#undef ADD_TO_SUM
#undef EACH_NUMBER
