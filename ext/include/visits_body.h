/* visits.h: what is worth compiling for each instruction-set level. */

/* n random words to integers in [0, bound). */
ISA_CODE void FN(visits_scale)(int64_t n, int64_t bound, int32_t *words)
{
    for (int64_t k = 0; k < n; k++)
        words[k] = (int32_t)((uint64_t)(uint32_t)words[k] * (uint64_t)bound >> 32);
}
