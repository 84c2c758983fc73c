/* activations.h for one instruction-set level. */

INLINE REALS FN(activation_sign)(REALS h)
{
    return REALS_SELECT(h >= 0.0, REALS_ALL(1.0), REALS_ALL(-1.0));
}

/* To a multiple of 2^-36 (of a larger power of two where |g| is 2^16 and more; integers stay what they are): then sums over units are
 * exact, and units that cancel do so in any order. Without it ties at zero, which +-1 inputs and units of opposite weights make,
 * would be decided by rounding. */
INLINE REALS FN(activation_grid)(REALS g)
{
    return (g + 0x1.8p16) - 0x1.8p16;
}

INLINE REALS FN(activation_erf)(REALS h)
{
    return FN(activation_grid)(FN(num_erf)(h * 0x1.6a09e667f3bcdp-1)); /* 1 / sqrt 2 */
}

INLINE REALS FN(activation_tanh)(REALS h)
{
    return FN(activation_grid)(FN(num_tanh)(h));
}

INLINE REALS FN(activation_relu)(REALS h)
{
    return FN(activation_grid)(REALS_SELECT(h > 0.0, h, REALS_ALL(0.0)));
}

INLINE REALS FN(activation_linear)(REALS h)
{
    return FN(activation_grid)(h);
}

#define ACTIVATIONS(name) \
    ISA_CODE void FN(activations_##name)(const double *field, int64_t n, double scale, double *out) \
    { \
        for (int64_t mu = 0; mu < n; mu += N_REALS) \
            *(REALS *)(out + mu) = FN(activation_##name)(*(const REALS *)(field + mu) * scale); \
    }
ACTIVATION_ROWS(ACTIVATIONS)
#undef ACTIVATIONS

/* For real weights, which have no ties: g off the grid, and its derivative. */
INLINE REALS FN(response_sign)(REALS h, REALS *slope)
{
    *slope = REALS_ALL(0.0);
    return FN(activation_sign)(h);
}

INLINE REALS FN(response_erf)(REALS h, REALS *slope)
{
    const REALS x = h * 0x1.6a09e667f3bcdp-1;      /* 1 / sqrt 2 */
    *slope = FN(num_exp)(-(x * x)) * 0x1.9884533d43651p-1; /* sqrt(2 / pi) */
    return FN(num_erf)(x);
}

INLINE REALS FN(response_tanh)(REALS h, REALS *slope)
{
    const REALS g = FN(num_tanh)(h);
    *slope = 1.0 - g * g;
    return g;
}

INLINE REALS FN(response_relu)(REALS h, REALS *slope)
{
    *slope = REALS_SELECT(h > 0.0, REALS_ALL(1.0), REALS_ALL(0.0));
    return REALS_SELECT(h > 0.0, h, REALS_ALL(0.0));
}

INLINE REALS FN(response_linear)(REALS h, REALS *slope)
{
    *slope = REALS_ALL(1.0);
    return h;
}

#define RESPONSES(name) \
    ISA_CODE void FN(responses_##name)(const double *field, int64_t n, double scale, double *unit, double *slope) \
    { \
        for (int64_t mu = 0; mu < n; mu += N_REALS) { \
            REALS derivative; \
            *(REALS *)(unit + mu) = FN(response_##name)(*(const REALS *)(field + mu) * scale, &derivative); \
            *(REALS *)(slope + mu) = derivative; \
        } \
    }
ACTIVATION_ROWS(RESPONSES)
#undef RESPONSES
