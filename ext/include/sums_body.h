/* sums.h for one instruction-set level. */

ISA_CODE double FN(sums_dot)(const double *a, const double *b, int64_t n)
{
    eight_doubles sum = {0};
    const int64_t whole = n / 8 * 8;
    for (int64_t i = 0; i < whole; i += 8)
        sum += *(const eight_doubles *)(a + i) * *(const eight_doubles *)(b + i);
    double total[8];
    memcpy(total, &sum, sizeof total);
    for (int64_t i = whole; i < n; i++)
        total[i - whole] += a[i] * b[i];
    return sums_pairwise(total, 1);
}
