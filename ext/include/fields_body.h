/* fields.h for one instruction-set level. */

/* Output of the machine for n patterns from mu on, with the outputs of one unit replaced (unit -1: of none). */
INLINE void FN(fields_output)(const fields_view *v, int64_t unit, const double *replacement, int64_t mu, int64_t n, double *out)
{
    const fields_model *m = v->m;
    const double scale = m->output_scale;
    for (int64_t k = 0; k < m->n_units; k++) {
        const double *g = k == unit ? replacement : v->unit + k * m->stride + mu;
        if (k == 0)
            for (int64_t at = 0; at < n; at += N_REALS)
                *(REALS *)(out + at) = *(const REALS *)(g + at);
        else if (m->parity)
            for (int64_t at = 0; at < n; at += N_REALS)
                *(REALS *)(out + at) *= *(const REALS *)(g + at);
        else
            for (int64_t at = 0; at < n; at += N_REALS)
                *(REALS *)(out + at) += *(const REALS *)(g + at);
    }
    for (int64_t at = 0; at < n; at += N_REALS)
        *(REALS *)(out + at) *= scale;
}

/* Outputs of the units, and losses, from the fields. */
ISA_CODE void FN(fields_settle)(void *model, int64_t walker)
{
    fields_view v = fields_open(model, walker);
    const fields_model *m = v.m;
    double output[STRETCH] __attribute__((aligned(64)));
    if (!fields_is_fused(m))
        m->activate(v.field, m->n_units * m->stride, m->unit_scale, v.unit);
    for (int64_t mu = 0; mu < m->stride; mu += STRETCH) {
        const int64_t n = m->stride - mu < STRETCH ? m->stride - mu : STRETCH;
        FN(fields_output)(&v, -1, NULL, mu, n, output);
        if (fields_is_fused(m))
            for (int64_t at = 0; at < n; at++)
                output[at] *= m->labels[mu + at]; /* exact: the label is in the field already */
        m->losses(m->labels + mu, output, n, &m->params, v.loss + mu);
    }
}

/* Everything from the weights. */
ISA_CODE void FN(fields_load)(void *model, int64_t walker)
{
    fields_view v = fields_open(model, walker);
    const fields_model *m = v.m;
    memset(v.field, 0, sizeof(double) * m->n_units * m->stride);
    for (int64_t i = 0; i < m->n_sites; i++)
        fields_add(v.reals ? v.reals[i] : v.signs[i], fields_column(m, i), m->stride, v.field + i / m->fan_in * m->stride);
    FN(fields_settle)(model, walker);
    double sum[8] = {0};
    for (int64_t mu = 0; mu < m->n_patterns; mu++)
        sum[mu % 8] += v.loss[mu];
    *v.energy = sums_pairwise(sum, 1);
}

/* Every unit of real weights back to |w_k|^2 = fan-in; then everything anew. */
ISA_CODE void FN(fields_rescale)(void *model, int64_t walker)
{
    const fields_model *m = model;
    for (int64_t unit = 0; unit < m->n_units; unit++) {
        double *w = m->reals + walker * m->n_sites + unit * m->fan_in;
        const double scale = sqrt(m->fan_in / FN(sums_dot)(w, w, m->fan_in));
        for (int64_t i = 0; i < m->fan_in; i++)
            w[i] *= scale;
    }
    FN(fields_load)(model, walker);
}

/* The fields after a move of one weight, or of two, at `at`. */
INLINE REALS FN(fields_moved)(const double *field, const fields_move *move, int two, int64_t at)
{
    REALS moved = *(const REALS *)(field + at) + move->step * *(const REALS *)(move->column + at);
    if (two)
        moved += move->other_step * *(const REALS *)(move->other + at);
    return moved;
}

/* Leaves new_unit and new_loss, gives the energy difference of a move. */
INLINE double FN(fields_delta)(const fields_view *v, const fields_move *move, int two)
{
    const fields_model *m = v->m;
    const double *field = v->field + move->unit * m->stride, *loss = v->loss;
    double *new_unit = m->new_unit, *new_loss = m->new_loss;
    double buffer[STRETCH] __attribute__((aligned(64)));
    REALS sum[8 / N_REALS] = {{0}};
    for (int64_t mu = 0; mu < m->stride; mu += STRETCH) {
        const int64_t n = m->stride - mu < STRETCH ? m->stride - mu : STRETCH;
        for (int64_t at = 0; at < n; at += N_REALS)
            *(REALS *)(buffer + at) = FN(fields_moved)(field, move, two, mu + at);
        m->activate(buffer, n, m->unit_scale, new_unit + mu);
        FN(fields_output)(v, move->unit, new_unit + mu, mu, n, buffer);
        m->losses(m->labels + mu, buffer, n, &m->params, new_loss + mu);
        for (int64_t at = mu; at < mu + n; at += 8)
            for (int64_t k = 0; k < 8 / N_REALS; k++)
                sum[k] += *(const REALS *)(new_loss + at + k * N_REALS) - *(const REALS *)(loss + at + k * N_REALS);
    }
    return sums_pairwise((const double *)sum, 1);
}

/* Carries out the move that fields_delta has looked at, but for the weights. */
INLINE void FN(fields_commit)(fields_view *v, const fields_move *move, int two, double delta)
{
    const fields_model *m = v->m;
    double *field = v->field + move->unit * m->stride;
    for (int64_t mu = 0; mu < m->stride; mu += N_REALS)
        *(REALS *)(field + mu) = FN(fields_moved)(field, move, two, mu);
    memcpy(v->unit + move->unit * m->stride, m->new_unit, sizeof(double) * m->stride);
    memcpy(v->loss, m->new_loss, sizeof(double) * m->stride);
    *v->energy += delta;
}

/* Sines and cosines of the angles of proposals k, k + 1, ...; beyond the last, of none. */
INLINE void FN(fields_angles)(const coordinate_moves *m, int64_t k, double *sine, double *cosine)
{
    REALS angle = {0};
    for (int64_t lane = 0; lane < N_REALS && k + lane < m->n; lane++)
        angle[lane] = m->step * m->noise[(k + lane) * m->stride];
    FN(num_sincos)(angle, (REALS *)sine, (REALS *)cosine);
}

#define KIND machine
#define KIND_DELTA FN(fields_delta)
#define KIND_COMMIT FN(fields_commit)
#include "fields_loops.h"

#define LOSS error_count
#include "fields_loss.h"
#define LOSS hinge
#include "fields_loss.h"
#define LOSS squared_hinge
#include "fields_loss.h"
#define LOSS logistic
#include "fields_loss.h"
#define LOSS symmetric
#include "fields_loss.h"
