/* gradients.h for one instruction-set level. */

/* Losses, and forces in place of the fields, of `tile` patterns from `mu` on; `at` is their place in the stretch. `second`: weights of
 * the second layer (n_units, width), or NULL: all 1. Adds to the partial sums of the energy, and of the gradient of `second`. */
INLINE void FN(gradients_tile)(const gradient_model *m, int64_t mu, int64_t at, const double *second, int want_force)
{
    const products *p = &m->products;
    const int64_t width = p->width, n = m->tile * width, plane = m->stretch * width, left = p->n_patterns - mu;
    const int64_t valid = (left < m->tile ? left : m->tile) * width, row = 8 * width;
    double *output = m->scratch, *loss = output + n, *slope = loss + n, *unit = slope + n, *field = m->field + at * width;
    for (int64_t k = 0; k < p->n_units; k++) {
        double *g = second ? unit + k * n : unit;
        m->respond(field + k * plane, n, m->unit_scale, g, field + k * plane);
        if (second)
            for (int64_t j = 0; j < n; j++)
                output[j] = (k == 0 ? 0.0 : output[j]) + second[k * width + j % width] * g[j];
        else
            for (int64_t j = 0; j < n; j++)
                output[j] = k == 0 ? g[j] : m->parity ? output[j] * g[j] : output[j] + g[j];
    }
    for (int64_t j = 0; j < n; j++)
        output[j] *= m->output_scale;
    m->slopes(m->labels + mu, output, m->tile, width, &m->params, loss, slope);
    for (int64_t first = 0; first < valid; first += row)
        for (int64_t j = first; j < (first + row < valid ? first + row : valid); j++)
            m->energy[j - first] += loss[j];
    if (!want_force)
        return;
    for (int64_t j = 0; j < valid; j++)
        slope[j] *= m->output_scale;
    for (int64_t j = valid; j < n; j++)
        slope[j] = 0; /* patterns that are padding exert no force */
    for (int64_t k = 0; k < p->n_units; k++) {
        double *force = field + k * plane;
        if (second)
            for (int64_t j = 0; j < n; j++) {
                m->pull[k * row + j % row] += slope[j] * unit[k * n + j];
                force[j] *= second[k * width + j % width];
            }
        for (int64_t j = 0; j < n; j++)
            force[j] *= slope[j] * m->unit_scale;
    }
}

/* The eight partial sums (8, width) of a sum over patterns, added pairwise, to out (width,). */
INLINE void FN(gradients_total)(double *sum, int64_t width, double *out)
{
    for (int64_t half = 4; half > 0; half /= 2)
        for (int64_t j = 0; j < half * width; j++)
            sum[j] += sum[half * width + j];
    memcpy(out, sum, sizeof(double) * width);
}

ISA_CODE void FN(gradients_evaluate)(void *model, const double *weights, double *energy, double *gradient)
{
    const gradient_model *m = model;
    const products *p = &m->products;
    const int64_t width = p->width, unit_weights = p->fan_in * width, sums = 8 * width;
    const double *second = m->second_layer ? weights + p->n_units * unit_weights : NULL;
    memset(m->energy, 0, sizeof(double) * sums);
    if (second)
        memset(m->pull, 0, sizeof(double) * p->n_units * sums);
    for (int64_t first = 0; first < p->n_patterns; first += m->stretch) {
        const int64_t n = p->rows - first < m->stretch ? p->rows - first : m->stretch;
        int64_t used = 0;
        for (int64_t k = 0; k < p->n_units; k++)
            m->forward(p, k, weights + k * unit_weights, first, n, m->field + k * m->stretch * width);
        for (; used < n && first + used < p->n_patterns; used += m->tile)
            FN(gradients_tile)(m, first + used, used, second, gradient != NULL);
        for (int64_t k = 0; gradient && k < p->n_units; k++) {
            double *force = m->field + k * m->stretch * width;
            for (int64_t j = used * width; j < n * width; j++)
                force[j] = 0;
            m->backward(p, k, force, first, n, gradient + k * unit_weights);
        }
    }
    FN(gradients_total)(m->energy, width, energy);
    for (int64_t k = 0; gradient && second && k < p->n_units; k++)
        FN(gradients_total)(m->pull + k * sums, width, gradient + p->n_units * unit_weights + k * width);
}
