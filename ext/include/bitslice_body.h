/* Proposal and commit of bitslice.h for one instruction-set level. `kind` and `groups` (0: any number) are constants where these are inlined. */

typedef uint64_t FN(bits) __attribute__((vector_size(VEC_BYTES), aligned(8), may_alias));
typedef int64_t FN(signed_bits) __attribute__((vector_size(VEC_BYTES), aligned(8), may_alias));
#define V FN(bits)
#define LANES (VEC_BYTES / 8)

/* counts[lane] += number of bits of x, in some lane: only the total means anything. */
INLINE V FN(popcount)(V x)
{
#if ISA_LEVEL == 2
    return (V)_mm512_popcnt_epi64((__m512i)x);
#elif ISA_LEVEL == 1
    const __m256i nibble = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15), y = (__m256i)x;
    __m256i bytes = _mm256_add_epi8(_mm256_shuffle_epi8(nibble, _mm256_and_si256(y, low)),
                                    _mm256_shuffle_epi8(nibble, _mm256_and_si256(_mm256_srli_epi16(y, 4), low)));
    return (V)_mm256_sad_epu8(bytes, _mm256_setzero_si256());
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    x += x >> 8;
    x += x >> 16;
    return (x + (x >> 32)) & 0x7f;
#endif
}

INLINE int64_t FN(total)(V x)
{
#if ISA_LEVEL == 2
    return _mm512_reduce_add_epi64((__m512i)x);
#else
    int64_t sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += (int64_t)x[lane];
    return sum;
#endif
}

INLINE int64_t FN(bitslice_words)(const bitslice_view *v, const int groups)
{
    return groups ? groups * GROUP : v->words;
}

INLINE int64_t FN(bitslice_n_masks)(const bitslice_view *v, const int kind)
{
    return kind == BITSLICE_VOTES ? v->m->n_masks : kind == BITSLICE_RAMP ? 3 : kind == BITSLICE_SYMMETRIC || kind == BITSLICE_PARITY ? 2 : 1;
}

INLINE int64_t FN(bitslice_unit)(const bitslice_view *v, int64_t site, const int kind)
{
    return kind <= BITSLICE_RAMP ? 0 : v->m->unit_of[site];
}

INLINE const uint64_t *FN(bitslice_column)(const bitslice_view *v, int64_t site, int64_t unit, int64_t words)
{
    return v->columns + (site - unit * v->m->skip) * words;
}

/* |mask & column| */
INLINE int64_t FN(bitslice_common)(const uint64_t *mask, const uint64_t *column, int64_t words)
{
    V count = {0};
    for (int64_t word = 0; word < words; word += LANES)
        count += FN(popcount)(*(const V *)(mask + word) & *(const V *)(column + word));
    return FN(total)(count);
}

INLINE int64_t FN(bitslice_delta)(const bitslice_view *v, int64_t site, const int kind, const int groups)
{
    const int64_t words = FN(bitslice_words)(v, groups), n_masks = FN(bitslice_n_masks)(v, kind), unit = FN(bitslice_unit)(v, site, kind);
    const uint64_t *column = FN(bitslice_column)(v, site, unit, words), *mask = v->masks + unit * n_masks * words;
    const int64_t *base = v->base + 2 * unit * n_masks;
    const int64_t negative = v->weights[site] >> 7; /* 0 or -1; no branch: the sign of a weight cannot be predicted */
    if (kind == BITSLICE_VOTES) {
        int64_t sum = 0;
        for (int64_t r = 0; r < n_masks; r++, base += 2, mask += words)
            sum += v->m->step[r] * (base[-negative] + ((FN(bitslice_common)(mask, column, words) ^ negative) - negative));
        return sum;
    }
    if (kind == BITSLICE_RAMP) {
        int64_t p = 0;
        for (int64_t r = 0; r < n_masks; r++, mask += words)
            p += v->m->step[r] * FN(bitslice_common)(mask, column, words);
        return base[-negative] + ((p ^ negative) - negative);
    }
    V count = {0};
    for (int64_t word = 0; word < words; word += LANES) {
        const V bits = *(const V *)(column + word);
        count += FN(popcount)(bits & *(const V *)(mask + word));
        if (n_masks == 2)
            count -= FN(popcount)(bits & *(const V *)(mask + words + word));
    }
    return base[-negative] + ((FN(total)(count) ^ negative) - negative);
}

/* Lane j: the total of sums[j]. */
INLINE V FN(totals)(const V sums[LANES])
{
#if ISA_LEVEL == 2
    __m512i pair[4], four[2];
    for (int j = 0; j < 4; j++) /* lanes 2i, 2i + 1: of sums 2j, 2j + 1 over two lanes each */
        pair[j] = _mm512_add_epi64(_mm512_unpacklo_epi64((__m512i)sums[2 * j], (__m512i)sums[2 * j + 1]),
                                   _mm512_unpackhi_epi64((__m512i)sums[2 * j], (__m512i)sums[2 * j + 1]));
    for (int j = 0; j < 2; j++)
        four[j] = _mm512_add_epi64(_mm512_shuffle_i64x2(pair[2 * j], pair[2 * j + 1], 0x88),
                                   _mm512_shuffle_i64x2(pair[2 * j], pair[2 * j + 1], 0xdd));
    return (V)_mm512_add_epi64(_mm512_shuffle_i64x2(four[0], four[1], 0x88), _mm512_shuffle_i64x2(four[0], four[1], 0xdd));
#else
    V out;
    for (int j = 0; j < LANES; j++)
        out[j] = (uint64_t)FN(total)(sums[j]);
    return out;
#endif
}

/* Energy changes of all flips. */
INLINE void FN(bitslice_deltas)(const bitslice_view *v, int32_t *out, const int kind, const int groups)
{
    const bitslice_model *m = v->m;
    const int64_t words = FN(bitslice_words)(v, groups), n_masks = FN(bitslice_n_masks)(v, kind), fan_in = m->n_sites / m->n_units;
    for (int64_t unit = 0; unit < m->n_units; unit++) {
        const int64_t first = unit * fan_in, end = first + fan_in;
        const uint64_t *mask = v->masks + unit * n_masks * words, *column = FN(bitslice_column)(v, first, unit, words);
        const int64_t *base = v->base + 2 * unit * n_masks;
        const V for_plus = (V){0} + (uint64_t)base[0], for_minus = (V){0} + (uint64_t)base[1];
        int64_t site = first;
        for (; site + LANES <= end; site += LANES) {
            V count[LANES] = {{0}}, weight;
            for (int j = 0; j < LANES; j++, column += words)
                for (int64_t word = 0; word < words; word += LANES) {
                    const V bits = *(const V *)(column + word);
                    count[j] += FN(popcount)(bits & *(const V *)(mask + word));
                    if (n_masks == 2)
                        count[j] -= FN(popcount)(bits & *(const V *)(mask + words + word));
                }
            for (int j = 0; j < LANES; j++)
                weight[j] = (uint64_t)(int64_t)v->weights[site + j];
            const V p = FN(totals)(count), negative = (V)((FN(signed_bits))weight < 0);
            const V delta = ((for_plus + p) & ~negative) | ((for_minus - p) & negative);
            for (int j = 0; j < LANES; j++)
                out[site + j] = (int32_t)delta[j];
        }
        for (; site < end; site++)
            out[site] = (int32_t)FN(bitslice_delta)(v, site, kind, groups);
    }
}

/* Counters in bit planes, plane j at plane[j * GROUP], move by one where `carry` is set: down where `down` is set, else up. Returns where
 * all digits are equal, which is at 0 and -1. */
INLINE V FN(bitslice_move)(uint64_t *plane, int64_t n_planes, V carry, V down)
{
    V previous = *(V *)plane ^ carry, unequal = {0};
    for (int64_t j = 0; j < n_planes; j++, plane += GROUP) {
        /* going up a carry runs through ones, going down a borrow runs through zeros */
        const V old = *(V *)plane, now = old ^ carry;
        *(V *)plane = now;
        carry &= old ^ down;
        unequal |= now ^ previous;
        previous = now;
    }
    return ~unequal;
}

/* Where a counter in bit planes is `value`. */
INLINE V FN(bitslice_equal)(const uint64_t *plane, int64_t n_planes, int64_t value)
{
    V unequal = {0};
    for (int64_t j = 0; j < n_planes; j++, plane += GROUP)
        unequal |= *(const V *)plane ^ ((V){0} - (uint64_t)(value >> j & 1));
    return ~unequal;
}

/* Address of digit 0 of word `word` of a counter. */
INLINE uint64_t *FN(bitslice_digits)(uint64_t *planes, int64_t n_planes, int64_t word)
{
    return planes + (word / GROUP) * n_planes * GROUP + word % GROUP;
}

/* Masks and bases of a unit among several, from `near`, the votes and what the patterns are now. */
INLINE void FN(bitslice_masks)(bitslice_view *v, int64_t unit, const int kind, const int groups)
{
    const bitslice_model *m = v->m;
    const int64_t words = FN(bitslice_words)(v, groups), n_masks = FN(bitslice_n_masks)(v, kind);
    uint64_t *planes = v->planes + unit * m->n_planes * words, *mask = v->masks + unit * n_masks * words;
    const uint64_t *near = v->near + unit * words;
    int64_t *base = v->base + 2 * unit * n_masks;
    if (kind == BITSLICE_PARITY) {
        V zero = {0}, minus = {0};
        for (int64_t word = 0; word < words; word += LANES) {
            const V sign = *(V *)(FN(bitslice_digits)(planes, m->n_planes, word) + (m->n_planes - 1) * GROUP);
            const V wrong = *(V *)(v->counts + word), side = sign ^ wrong, close = *(const V *)(near + word);
            const V first = close & ~side, second = close & side;
            *(V *)(mask + word) = first;
            *(V *)(mask + words + word) = second;
            zero += FN(popcount)(first & ~sign) - FN(popcount)(second & ~sign);
            minus += FN(popcount)(first & sign) - FN(popcount)(second & sign);
        }
        base[0] = -FN(total)(minus);
        base[1] = FN(total)(zero);
        return;
    }
    for (int64_t r = 0; r < n_masks; r++, mask += words, base += 2) {
        const int64_t threshold = m->threshold[r];
        V zero = {0}, minus = {0};
        for (int64_t word = 0; word < words; word += LANES) {
            const V sign = *(V *)(FN(bitslice_digits)(planes, m->n_planes, word) + (m->n_planes - 1) * GROUP);
            const uint64_t *count = FN(bitslice_digits)(v->counts, m->n_count_planes, word);
            const V at = FN(bitslice_equal)(count, m->n_count_planes, threshold), below = FN(bitslice_equal)(count, m->n_count_planes, threshold - 1);
            const V close = *(const V *)(near + word), a = close & at & ~sign, b = close & below & sign;
            *(V *)(mask + word) = a | b;
            zero += FN(popcount)(a);
            minus += FN(popcount)(b);
        }
        base[0] = -FN(total)(minus);
        base[1] = FN(total)(zero);
    }
}

/* What bases are made of: numbers of patterns, lane by lane. One unit. */
typedef struct {
    V minus, zero, below;
} FN(bitslice_counts);

/* What follows from T of the patterns of a word: `close` where it is 0 or -1, `sign` where it is negative. Masks and counts of a single
 * unit; of one among several what bitslice_masks needs. */
INLINE void FN(bitslice_judge)(bitslice_view *v, int64_t unit, int64_t word, V close, V sign, FN(bitslice_counts) *n, const int kind, const int groups)
{
    const bitslice_model *m = v->m;
    const int64_t words = FN(bitslice_words)(v, groups);
    const V a = close & ~sign, b = close & sign;
    V *mask = (V *)(v->masks + word), *second = (V *)(v->masks + words + word), *third = (V *)(v->masks + 2 * words + word);
    switch (kind) {
    case BITSLICE_ERROR_COUNT:
        *mask = close;
        n->minus += FN(popcount)(b);
        n->zero += FN(popcount)(a);
        break;
    case BITSLICE_SYMMETRIC: {
        const uint64_t *plane = FN(bitslice_digits)(v->planes, m->n_planes, word);
        const V at_top = FN(bitslice_equal)(plane, m->n_planes, m->top), beyond = FN(bitslice_equal)(plane, m->n_planes, m->top + 1);
        *mask = close;
        *second = at_top | beyond;
        n->minus += FN(popcount)(b) - FN(popcount)(at_top);
        n->zero += FN(popcount)(a) - FN(popcount)(beyond);
        break;
    }
    case BITSLICE_RAMP:
        *mask = sign;
        *second = a;
        *third = b;
        n->below += FN(popcount)(sign);
        n->minus += FN(popcount)(b);
        n->zero += FN(popcount)(a);
        break;
    default:
        *(V *)(v->near + unit * words + word) = close;
    }
}

/* Bases, and of several units masks, after the patterns have been judged. */
INLINE void FN(bitslice_settle)(bitslice_view *v, const FN(bitslice_counts) *n, const int kind, const int groups)
{
    if (kind > BITSLICE_RAMP) {
        for (int64_t k = 0; k < v->m->n_units; k++)
            FN(bitslice_masks)(v, k, kind, groups);
        return;
    }
    int64_t minus = FN(total)(n->minus), zero = FN(total)(n->zero);
    if (kind == BITSLICE_RAMP) {
        /* if all grew, those at T < -1 would gain s and those at T = -1 gain a */
        const int64_t s = v->m->step[0] / 2, a = v->m->step[1], below = FN(total)(n->below);
        v->base[0] = -s * (below - minus) - a * minus;
        v->base[1] = s * below + a * zero;
    } else {
        v->base[0] = -minus;
        v->base[1] = zero;
    }
}

INLINE void FN(bitslice_commit)(bitslice_view *v, int64_t site, const int kind, const int groups)
{
    const bitslice_model *m = v->m;
    const int64_t words = FN(bitslice_words)(v, groups), n_planes = m->n_planes, unit = FN(bitslice_unit)(v, site, kind);
    const uint64_t *column = FN(bitslice_column)(v, site, unit, words);
    const V flip = (V){0} - (uint64_t)(v->weights[site] < 0);
    FN(bitslice_counts) counts = {{0}, {0}, {0}};
    for (int64_t word = 0; word < words; word += LANES) {
        uint64_t *plane = FN(bitslice_digits)(v->planes + unit * n_planes * words, n_planes, word);
        const V down = *(const V *)(column + word) ^ flip, before = *(V *)(plane + (n_planes - 1) * GROUP);
        const V close = FN(bitslice_move)(plane, n_planes, ~(V){0}, down), sign = *(V *)(plane + (n_planes - 1) * GROUP);
        FN(bitslice_judge)(v, unit, word, close, sign, &counts, kind, groups);
        if (kind == BITSLICE_PARITY)
            *(V *)(v->counts + word) ^= before ^ sign;
        else if (kind > BITSLICE_RAMP)
            FN(bitslice_move)(FN(bitslice_digits)(v->counts, m->n_count_planes, word), m->n_count_planes, before ^ sign, sign);
    }
    FN(bitslice_settle)(v, &counts, kind, groups);
    v->weights[site] = -v->weights[site];
}

/* Sum over patterns of the loss, in units, from the planes and counts. */
static inline int64_t FN(bitslice_energy)(const bitslice_view *v, const int kind)
{
    const bitslice_model *m = v->m;
    int64_t energy = m->n_patterns * m->least;
    for (int64_t mu = 0; mu < m->n_patterns; mu++) {
        const int64_t word = mu / 64;
        const int counted = kind == BITSLICE_MAJORITY || kind == BITSLICE_VOTES;
        const int64_t n_planes = counted ? m->n_count_planes : m->n_planes;
        const uint64_t *plane = (counted ? v->counts : v->planes) + (word / GROUP) * n_planes * GROUP + word % GROUP;
        int64_t value = 0;
        for (int64_t j = 0; j < n_planes; j++)
            value += (int64_t)(plane[j * GROUP] >> mu % 64 & 1) << j;
        if (!counted && value >> (n_planes - 1) & 1)
            value -= (int64_t)1 << n_planes;
        if (counted)
            for (int64_t r = 0; r < m->n_masks; r++)
                energy += value < m->threshold[r] ? m->step[r] : 0;
        else if (kind == BITSLICE_PARITY)
            energy += v->counts[word] >> mu % 64 & 1;
        else if (kind == BITSLICE_RAMP)
            energy += value < 0 ? m->step[1] + m->step[0] / 2 * (-1 - value) : 0;
        else
            energy += value < 0 || (kind == BITSLICE_SYMMETRIC && value > m->top);
    }
    return energy;
}

/* Everything but weights and planes. */
INLINE void FN(bitslice_rebuild)(bitslice_view *v, const int kind)
{
    const bitslice_model *m = v->m;
    const int64_t words = v->words, n_planes = m->n_planes;
    if (kind == BITSLICE_PARITY)
        memcpy(v->counts, m->negative, sizeof(uint64_t) * words);
    else
        memset(v->counts, 0, sizeof(uint64_t) * words * m->n_count_planes);
    FN(bitslice_counts) counts = {{0}, {0}, {0}};
    for (int64_t unit = 0; unit < m->n_units; unit++)
        for (int64_t word = 0; word < words; word += LANES) {
            uint64_t *plane = FN(bitslice_digits)(v->planes + unit * n_planes * words, n_planes, word);
            const V close = FN(bitslice_equal)(plane, n_planes, 0) | FN(bitslice_equal)(plane, n_planes, -1);
            const V sign = *(V *)(plane + (n_planes - 1) * GROUP);
            FN(bitslice_judge)(v, unit, word, close, sign, &counts, kind, 0);
            if (kind == BITSLICE_PARITY)
                *(V *)(v->counts + word) ^= sign;
            else if (kind > BITSLICE_RAMP)
                FN(bitslice_move)(FN(bitslice_digits)(v->counts, m->n_count_planes, word), m->n_count_planes, ~sign, (V){0});
        }
    FN(bitslice_settle)(v, &counts, kind, 0);
    *v->total = FN(bitslice_energy)(v, kind);
}

#define KIND error_count
#define CODE BITSLICE_ERROR_COUNT
#define INTEGER 1
#include "bitslice_kind.h"

#define KIND symmetric
#define CODE BITSLICE_SYMMETRIC
#define INTEGER 1
#include "bitslice_kind.h"

#define KIND ramp
#define CODE BITSLICE_RAMP
#define INTEGER 0
#include "bitslice_kind.h"

#define KIND majority
#define CODE BITSLICE_MAJORITY
#define INTEGER 1
#include "bitslice_kind.h"

#define KIND votes
#define CODE BITSLICE_VOTES
#define INTEGER 0
#include "bitslice_kind.h"

#define KIND parity
#define CODE BITSLICE_PARITY
#define INTEGER 1
#include "bitslice_kind.h"

#undef V
#undef LANES
