/* gradients.h for one instruction-set level. */

/* Losses, and forces in place of the fields, of TILE patterns from `mu` on; `at` is their place in the stretch. Adds to the partial sums
 * of the energy (TILE, width). */
INLINE void FN(gradients_tile)(const gradient_model *m, int64_t mu, int64_t at, int want_force, double *sum)
{
    const products *p = &m->products;
    const int64_t n = TILE * p->width, plane = m->stretch * p->width, left = p->n_patterns - mu, valid = (left < TILE ? left : TILE) * p->width;
    double *output = m->tile, *unit = output + n, *loss = unit + n, *slope = loss + n, *field = m->field + at * p->width;
    for (int64_t k = 0; k < p->n_units; k++) {
        m->respond(field + k * plane, n, m->unit_scale, unit, field + k * plane);
        for (int64_t j = 0; j < n; j++)
            output[j] = k == 0 ? unit[j] : m->parity ? output[j] * unit[j] : output[j] + unit[j];
    }
    for (int64_t j = 0; j < n; j++)
        output[j] *= m->output_scale;
    m->slopes(m->labels + mu, output, TILE, p->width, &m->params, loss, slope);
    for (int64_t j = 0; j < valid; j++)
        sum[j] += loss[j];
    if (!want_force)
        return;
    const double scale = m->output_scale * m->unit_scale;
    for (int64_t j = valid; j < n; j++)
        slope[j] = 0; /* patterns that are padding exert no force */
    for (int64_t k = 0; k < p->n_units; k++)
        for (int64_t j = 0; j < n; j++)
            field[k * plane + j] *= slope[j] * scale;
}

ISA_CODE void FN(gradients_evaluate)(void *model, const double *weights, double *energy, double *gradient)
{
    const gradient_model *m = model;
    const products *p = &m->products;
    const int64_t width = p->width, unit_weights = p->fan_in * width;
    double *sum = m->tile + 4 * TILE * width;
    memset(sum, 0, sizeof(double) * TILE * width);
    for (int64_t first = 0; first < p->n_patterns; first += m->stretch) {
        for (int64_t k = 0; k < p->n_units; k++)
            m->forward(p, k, weights + k * unit_weights, first, m->stretch, m->field + k * m->stretch * width);
        for (int64_t at = 0; at < m->stretch && first + at < p->n_patterns; at += TILE)
            FN(gradients_tile)(m, first + at, at, gradient != NULL, sum);
        if (gradient == NULL)
            continue;
        const int64_t used = (p->n_patterns - first + TILE - 1) / TILE * TILE;
        for (int64_t k = 0; k < p->n_units; k++) {
            double *force = m->field + k * m->stretch * width;
            for (int64_t j = used * width; j < m->stretch * width; j++)
                force[j] = 0;
            m->backward(p, k, force, first, m->stretch, gradient + k * unit_weights);
        }
    }
    for (int64_t half = TILE / 2; half > 0; half /= 2)
        for (int64_t j = 0; j < half * width; j++)
            sum[j] += sum[half * width + j];
    memcpy(energy, sum, sizeof(double) * width);
}
