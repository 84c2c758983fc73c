/* waiting.h for one instruction-set level: what goes through all sites. */

/* Classes of n_sites differences as pairs (dE, number of sites), dE increasing; returns their number. deltas: room for a multiple of
 * WAITING_BLOCK, the padding inside the range; counts: centred on dE = 0; classes: room for one more pair than there are. */
ISA_CODE int64_t FN(waiting_classify)(const int32_t *deltas, int64_t n_sites, int32_t *counts, int32_t *classes)
{
    int32_t lowest = deltas[0], highest = deltas[0];
    for (int64_t i = 0; i < ((n_sites + 15) & ~(int64_t)15); i++) {
        lowest = deltas[i] < lowest ? deltas[i] : lowest;
        highest = deltas[i] > highest ? deltas[i] : highest;
    }
    for (int64_t i = 0; i < n_sites; i++) /* four counters each: neighbouring sites, often of one class, do not wait for each other */
        counts[4 * (int64_t)deltas[i] + i % 4]++;
    int64_t n = 0;
    for (int64_t d = lowest; d <= highest; d++) {
        int32_t *four = counts + 4 * d, sum = (four[0] + four[1]) + (four[2] + four[3]);
        memset(four, 0, 4 * sizeof(int32_t));
        classes[2 * n] = (int32_t)d;
        classes[2 * n + 1] = sum;
        n += sum != 0;
    }
    return n;
}

/* The site that has `number` (0, 1, ...) sites of the same difference before it; there is one. */
ISA_CODE int64_t FN(waiting_find)(const int32_t *deltas, int32_t delta, int64_t number)
{
    int64_t site = 0;
    for (;; site += WAITING_BLOCK) {
        int32_t here = 0;
        for (int64_t i = 0; i < WAITING_BLOCK; i++)
            here += deltas[site + i] == delta;
        if (number < here)
            break;
        number -= here;
    }
    for (;; site++)
        if (deltas[site] == delta && number-- == 0)
            return site;
}

/* Rates of flips from real differences; deltas: room for `stride`. */
ISA_CODE void FN(waiting_rates)(double beta, const double *deltas, int64_t n_sites, int64_t stride, double *rates)
{
    for (int64_t i = 0; i < n_sites; i += N_REALS) {
        const REALS x = beta * *(const REALS *)(deltas + i), zero = REALS_ALL(0.0);
        *(REALS *)(rates + i) = WAITING_MOST(beta) * FN(num_exp)(REALS_SELECT(x > 0.0, -x, zero));
    }
    for (int64_t i = n_sites; i < stride; i++)
        rates[i] = 0;
}

/* Sum of WAITING_BLOCK rates, in the order of sums.h. */
ISA_CODE double FN(waiting_block)(const double *rates)
{
    double sum[8] = {0};
    for (int64_t i = 0; i < WAITING_BLOCK; i += 8)
        for (int64_t k = 0; k < 8; k += N_REALS)
            *(REALS *)(sum + k) += *(const REALS *)(rates + i + k);
    return sums_pairwise(sum, 1);
}
