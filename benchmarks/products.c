/* The gradient of a block of real weights, and of it the matrix products alone, both by the engine's own functions and without
 * Python. Compiled with -Iext/include. */
#include "gradients.h"

/* n times the gradient of all walkers; gradient: (n_weights, width). */
void gradients(const gradient_target *t, int64_t n, double *gradient)
{
    for (int64_t k = 0; k < n; k++)
        for (int64_t pack = 0; pack < t->n_packs; pack++)
            t->evaluate(t->model, t->weights + pack * t->n_weights * t->width, t->energy + pack * t->width, gradient);
}

/* n times the products of that, with the fields in place of forces. */
void products_alone(const gradient_target *t, int64_t n, double *gradient)
{
    const gradient_model *m = t->model;
    const products *p = &m->products;
    const int64_t unit = p->fan_in * p->width, plane = m->stretch * p->width;
    for (int64_t k = 0; k < n; k++)
        for (int64_t pack = 0; pack < t->n_packs; pack++)
            for (int64_t first = 0; first < p->n_patterns; first += m->stretch) {
                const int64_t rows = p->rows - first < m->stretch ? p->rows - first : m->stretch;
                for (int64_t i = 0; i < p->n_units; i++)
                    m->forward(p, i, t->weights + pack * t->n_weights * t->width + i * unit, first, rows, m->field + i * plane);
                for (int64_t i = p->n_units - 1; i >= 0; i--)
                    m->backward(p, i, m->field + i * plane, first, rows, gradient + i * unit);
            }
}
