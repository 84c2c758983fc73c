/* Where weights move, and how: kicks of the momenta and free flights.
 *
 * Under the Gaussian prior that is the whole space, U = beta E + precision |w|^2 / 2. Preconditioned, weights are w = C u, a fixed linear
 * map for each unit, and all that moves.h says holds for u: momenta are those of u, a kick takes C^T dU, a drift adds C p. Then u moves
 * as w would with the mass matrix (C C^T)^-1.
 *
 * On the sphere |w_k|^2 = fan_in of each unit U = beta E, momenta and forces are projected to the tangent space of every unit, and weights
 * move along great circles (Byrne, Girolami 2013): with v = |p_k| and angle a = h v / sqrt(fan_in)
 *   w' = w cos a + p (h sin(a) / a),   p' = p cos a - w (h v^2 / fan_in) sin(a) / a,   then w' is scaled to its norm once.
 * The projection comes after every kick and every noise; rounding between two of them is below what the next one removes.
 *
 * Squares |w|^2 and |p|^2 are sums over all weights; on the sphere over those of each unit, and then over units in order.
 */
#ifndef MCMC_MOVES_SPACE_H
#define MCMC_MOVES_SPACE_H

#include "moves_run.h"

#define LARGEST_ANGLE 1e6 /* beyond it num_sincos is no rotation; far beyond what any sampler can use */

/* |x|^2 into `square`. */
static void moves_square(const moves_run *r, const double *x, double *square)
{
    const gradient_target *t = r->target;
    const int64_t lanes = r->passes.lanes, n_parts = r->sphere ? t->n_units : 1, n = t->n_weights / n_parts;
    memset(square, 0, sizeof(double) * lanes);
    for (int64_t part = 0; part < n_parts; part++, x += n * t->width) {
        pass_dot[r->level](&r->passes, n, x, x, r->lanes.dot);
        for (int64_t k = 0; k < lanes; k++)
            square[k] += r->lanes.dot[k];
    }
}

/* On the sphere: momenta to the tangent space at w; |p_k|^2 into unit_square and their sum into `kinetic`. */
static void moves_project(const moves_run *r, const double *w, double *p, double *kinetic)
{
    const gradient_target *t = r->target;
    const int64_t lanes = r->passes.lanes, fan_in = t->n_weights / t->n_units;
    double *square = r->unit_square;
    memset(kinetic, 0, sizeof(double) * lanes);
    for (int64_t unit = 0; unit < t->n_units; unit++, w += fan_in * t->width, p += fan_in * t->width, square += lanes) {
        pass_dot[r->level](&r->passes, fan_in, w, p, r->lanes.dot);
        for (int64_t k = 0; k < lanes; k++)
            r->lanes.dot[k] /= fan_in;
        pass_subtract[r->level](&r->passes, fan_in, r->lanes.dot, w, p, square);
        for (int64_t k = 0; k < lanes; k++)
            kinetic[k] += square[k];
    }
}

/* Noise to momenta at w; |p|^2 into `kinetic`. */
static void moves_tangent(const moves_run *r, const double *w, double *p, double *kinetic)
{
    if (r->sphere)
        moves_project(r, w, p, kinetic);
    else
        moves_square(r, p, kinetic);
}

static inline int moves_preconditioned(const moves_run *r)
{
    return r->force != NULL;
}

/* C x, or C^T x, to `out`, another pack. */
static void moves_map(const moves_run *r, int transposed, const double *x, double *out)
{
    const int64_t width = r->target->width;
    if (r->diagonal) {
        pass_multiply[r->level](&r->passes, r->target->n_weights, r->diagonal, x, out);
        return;
    }
    const products *p = r->root;
    const int64_t size = p->fan_in * width;
    for (int64_t unit = 0; unit < p->n_units; unit++, x += size, out += size) {
        if (transposed) {
            memcpy(r->rows, x, sizeof(double) * size);
            memset(r->rows + size, 0, sizeof(double) * (p->rows * width - size)); /* rows that are padding */
            r->root_backward(p, unit, r->rows, 0, p->rows, out);
        } else {
            r->root_forward(p, unit, x, 0, p->rows, r->rows);
            memcpy(out, r->rows, sizeof(double) * size);
        }
    }
}

/* p -= fraction step dU(w), with the gradient g of E; |p|^2 into `kinetic`. */
static void moves_kick(const moves_run *r, double fraction, const double *g, const double *w, double *p, double *kinetic)
{
    const moves_lanes *l = &r->lanes;
    const int64_t n = r->target->n_weights;
    for (int64_t k = 0; k < r->passes.lanes; k++) {
        l->a[k] = fraction * l->step[k] * l->beta[k];
        l->b[k] = fraction * l->step[k] * r->precision;
    }
    if (moves_preconditioned(r)) {
        pass_combine[r->level](&r->passes, n, l->a, g, l->b, w, r->force, l->dot);
        moves_map(r, 1, r->force, r->mapped);
        pass_subtract[r->level](&r->passes, n, l->one, r->mapped, p, kinetic);
        return;
    }
    pass_kick[r->level](&r->passes, n, l->a, g, l->b, w, p, kinetic);
    if (r->sphere)
        moves_project(r, w, p, kinetic);
}

/* Weights along great circles with the velocities p, for time fraction * step: w to `out`; |out|^2 before it is scaled into `norm`. */
static void moves_drift_on_sphere(const moves_run *r, double fraction, const double *w, double *p, double *out, double *norm)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    const int64_t lanes = r->passes.lanes, fan_in = t->n_weights / t->n_units, size = fan_in * t->width;
    const double *square = r->unit_square;
    memset(norm, 0, sizeof(double) * lanes);
    for (int64_t unit = 0; unit < t->n_units; unit++, w += size, p += size, out += size, square += lanes) {
        for (int64_t k = 0; k < lanes; k++) {
            const double time = fraction * l->step[k];
            double angle = time * sqrt(square[k] / fan_in);
            if (!(angle <= LARGEST_ANGLE))
                angle = NAN;
            const double sinc = angle > 0.0 ? num_sin1(angle) / angle : 1.0 + angle; /* keeps NaN */
            l->a[k] = num_cos1(angle);
            l->b[k] = time * sinc;
            l->c[k] = time * (square[k] / fan_in) * sinc;
        }
        pass_rotate[r->level](&r->passes, fan_in, l->a, l->b, l->c, w, p, out, l->dot);
        for (int64_t k = 0; k < lanes; k++) {
            norm[k] += l->dot[k];
            l->a[k] = sqrt(fan_in / l->dot[k]);
        }
        pass_scale[r->level](&r->passes, fan_in, l->a, out);
    }
}

/* w + fraction step p to `out`, or along great circles; |out|^2 into `norm`. */
static void moves_drift(const moves_run *r, double fraction, const double *w, double *p, double *out, double *norm)
{
    const moves_lanes *l = &r->lanes;
    if (r->sphere) {
        moves_drift_on_sphere(r, fraction, w, p, out, norm);
        return;
    }
    for (int64_t k = 0; k < r->passes.lanes; k++)
        l->a[k] = fraction * l->step[k];
    if (moves_preconditioned(r)) {
        moves_map(r, 0, p, r->mapped);
        p = r->mapped;
    }
    pass_combine[r->level](&r->passes, r->target->n_weights, l->one, w, l->a, p, out, norm);
}

#endif
