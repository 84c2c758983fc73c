/* losses.h for one instruction-set level. */

/* The smallest stability that is no error at margin 0: 0 for label +1; for label -1 the smallest normal number, because sign(0) = +1
 * makes d = 0 an error there. (A denormal would not do: some libraries make the processor take them for 0.) */
INLINE REALS FN(loss_tie)(REALS y)
{
    return REALS_SELECT(y > 0.0, REALS_ALL(0.0), REALS_ALL(0x1p-1022));
}

/* The losses of the stability d; the others have no use for `tie`. */
INLINE REALS FN(loss_error_count)(REALS d, REALS tie, const loss_params *p)
{
    return p->margin == 0.0 ? ONE_WHERE(d < tie) : ONE_WHERE(d < p->margin);
}

INLINE REALS FN(loss_hinge)(REALS d, REALS tie, const loss_params *p)
{
    REALS short_by = p->margin - d;
    return REALS_SELECT(short_by > 0.0, short_by, REALS_ALL(0.0));
}

INLINE REALS FN(loss_squared_hinge)(REALS d, REALS tie, const loss_params *p)
{
    REALS short_by = FN(loss_hinge)(d, tie, p);
    return 0.5 * (short_by * short_by);
}

INLINE REALS FN(loss_logistic)(REALS d, REALS tie, const loss_params *p)
{
    return FN(num_softplus)(-p->sharpness * (d - p->margin)) / p->sharpness;
}

INLINE REALS FN(loss_symmetric)(REALS d, REALS tie, const loss_params *p)
{
    return ONE_WHERE((d > p->margin) | (d < -p->margin));
}

#define LOSSES(name) \
    ISA_CODE void FN(losses_##name)(const double *y, const double *f, int64_t n, const loss_params *p, double *out) \
    { \
        const loss_params params = *p; \
        for (int64_t mu = 0; mu < n; mu += N_REALS) { \
            const REALS label = *(const REALS *)(y + mu), output = *(const REALS *)(f + mu); \
            *(REALS *)(out + mu) = FN(loss_##name)(label * output, FN(loss_tie)(label), &params); \
        } \
    }
STABILITY_LOSS_ROWS(LOSSES)
#undef LOSSES

ISA_CODE void FN(losses_square)(const double *y, const double *f, int64_t n, const loss_params *p, double *out)
{
    for (int64_t mu = 0; mu < n; mu += N_REALS) {
        const REALS residual = *(const REALS *)(y + mu) - *(const REALS *)(f + mu);
        *(REALS *)(out + mu) = 0.5 * (residual * residual);
    }
}
