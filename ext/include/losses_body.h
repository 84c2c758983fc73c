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

/* Derivatives of the losses by the stability d. */
INLINE REALS FN(slope_error_count)(REALS d, const loss_params *p)
{
    return REALS_ALL(0.0);
}

INLINE REALS FN(slope_hinge)(REALS d, const loss_params *p)
{
    return REALS_SELECT(p->margin - d > 0.0, REALS_ALL(-1.0), REALS_ALL(0.0));
}

INLINE REALS FN(slope_squared_hinge)(REALS d, const loss_params *p)
{
    return -FN(loss_hinge)(d, d, p);
}

INLINE REALS FN(slope_symmetric)(REALS d, const loss_params *p)
{
    return REALS_ALL(0.0);
}

#define PAIR(name) \
    INLINE void FN(pair_##name)(REALS y, REALS f, const loss_params *p, double *loss, double *slope) \
    { \
        const REALS d = y * f; \
        *(REALS *)loss = FN(loss_##name)(d, FN(loss_tie)(y), p); \
        *(REALS *)slope = y * FN(slope_##name)(d, p); \
    }
PAIR(error_count)
PAIR(hinge)
PAIR(squared_hinge)
PAIR(symmetric)
#undef PAIR

INLINE void FN(pair_square)(REALS y, REALS f, const loss_params *p, double *loss, double *slope)
{
    const REALS residual = f - y;
    *(REALS *)loss = 0.5 * (residual * residual);
    *(REALS *)slope = residual;
}

/* A statement for each vector `at` of outputs (n, width), with the `label` of its patterns. */
#define EACH_OUTPUT(STATEMENT) \
    for (int64_t mu = 0, rows = width == 1 ? N_REALS : 1; mu < n; mu += rows) { \
        REALS label = REALS_ALL(y[mu]); \
        if (width == 1) \
            label = *(const REALS *)(y + mu); \
        for (int64_t at = mu * width; at < (mu + rows) * width; at += N_REALS) { \
            STATEMENT; \
        } \
    }

#define SLOPES(name) \
    ISA_CODE void FN(slopes_##name)(const double *y, const double *f, int64_t n, int64_t width, const loss_params *p, double *loss, double *slope) \
    { \
        const loss_params params = *p; \
        EACH_OUTPUT(FN(pair_##name)(label, *(const REALS *)(f + at), &params, loss + at, slope + at)) \
    }
SLOPES(error_count)
SLOPES(hinge)
SLOPES(squared_hinge)
SLOPES(symmetric)
SLOPES(square)
#undef SLOPES

/* The slope is -1 / (1 + exp(-x)) with x = -sharpness (d - margin), and shares the exponential with the loss. In steps, each short enough
 * for the processor to overlap many: in one, vectors wait for each other. */
ISA_CODE void FN(slopes_logistic)(const double *y, const double *f, int64_t n, int64_t width, const loss_params *p, double *loss, double *slope)
{
    const double sharpness = p->sharpness, margin = p->margin;
    EACH_OUTPUT(*(REALS *)(loss + at) = -sharpness * (label * *(const REALS *)(f + at) - margin))
    for (int64_t at = 0; at < n * width; at += N_REALS)
        *(REALS *)(slope + at) = FN(num_exp_below)(*(const REALS *)(loss + at));
    for (int64_t at = 0; at < n * width; at += N_REALS) {
        const REALS x = *(const REALS *)(loss + at), t = *(const REALS *)(slope + at);
        *(REALS *)(loss + at) = FN(num_softplus_of)(x, t) / sharpness;
        *(REALS *)(slope + at) = REALS_SELECT(x > 0.0, REALS_ALL(-1.0), -t) / (1.0 + t);
    }
    EACH_OUTPUT(*(REALS *)(slope + at) *= label)
}
#undef EACH_OUTPUT
