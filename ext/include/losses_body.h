/* losses.h for one instruction-set level. */

/* `tie` is the stability below which a pattern is an error at margin 0: 0 for label +1; for label -1 the smallest normal number,
 * because sign(0) = +1 makes D = 0 an error there. The other losses have no use for it. */
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
