/* activations.h for one instruction-set level. */

INLINE REALS FN(activation_sign)(REALS h)
{
    return REALS_SELECT(h >= 0.0, REALS_ALL(1.0), REALS_ALL(-1.0));
}

INLINE REALS FN(activation_erf)(REALS h)
{
    return FN(num_erf)(h * 0x1.6a09e667f3bcdp-1); /* 1 / sqrt 2 */
}

INLINE REALS FN(activation_tanh)(REALS h)
{
    return FN(num_tanh)(h);
}

INLINE REALS FN(activation_relu)(REALS h)
{
    return REALS_SELECT(h > 0.0, h, REALS_ALL(0.0));
}

INLINE REALS FN(activation_linear)(REALS h)
{
    return h;
}

/* To a multiple of 2^-36; of a larger power of two where |g| is 2^16 and more. Integers stay what they are. */
INLINE REALS FN(activation_grid)(REALS g)
{
    return (g + 0x1.8p16) - 0x1.8p16;
}

#define ACTIVATIONS(name) \
    ISA_CODE void FN(activations_plain_##name)(const double *field, int64_t n, double scale, double *out) \
    { \
        for (int64_t mu = 0; mu < n; mu += N_REALS) \
            *(REALS *)(out + mu) = FN(activation_##name)(*(const REALS *)(field + mu) * scale); \
    } \
    ISA_CODE void FN(activations_on_grid_##name)(const double *field, int64_t n, double scale, double *out) \
    { \
        for (int64_t mu = 0; mu < n; mu += N_REALS) \
            *(REALS *)(out + mu) = FN(activation_grid)(FN(activation_##name)(*(const REALS *)(field + mu) * scale)); \
    }
ACTIVATION_ROWS(ACTIVATIONS)
#undef ACTIVATIONS

/* Their derivatives at h, where g is their value. */
INLINE REALS FN(gain_sign)(REALS h, REALS g)
{
    return REALS_ALL(0.0);
}

INLINE REALS FN(gain_erf)(REALS h, REALS g)
{
    const REALS x = h * 0x1.6a09e667f3bcdp-1; /* 1 / sqrt 2 */
    return FN(num_exp)(-(x * x)) * 0x1.9884533d43651p-1; /* sqrt(2 / pi) */
}

INLINE REALS FN(gain_tanh)(REALS h, REALS g)
{
    return 1.0 - g * g;
}

INLINE REALS FN(gain_relu)(REALS h, REALS g)
{
    return REALS_SELECT(h > 0.0, REALS_ALL(1.0), REALS_ALL(0.0));
}

INLINE REALS FN(gain_linear)(REALS h, REALS g)
{
    return REALS_ALL(1.0);
}

#define RESPONSES(name) \
    ISA_CODE void FN(responses_##name)(const double *field, int64_t n, double scale, double *unit, double *slope) \
    { \
        for (int64_t mu = 0; mu < n; mu += N_REALS) { \
            const REALS h = *(const REALS *)(field + mu) * scale, g = FN(activation_##name)(h); \
            *(REALS *)(unit + mu) = g; \
            *(REALS *)(slope + mu) = FN(gain_##name)(h, g); \
        } \
    }
ACTIVATION_ROWS(RESPONSES)
#undef RESPONSES
