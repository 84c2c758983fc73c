/* products.h for one instruction-set level: the same code for float64 and float32. */

typedef float FN(reals4) __attribute__((vector_size(VEC_BYTES), aligned(4), may_alias));

#define RN(name) FN(ISA_JOIN(name, REAL_NAME))

#define REAL double
#define REAL_NAME f64
#define REAL_VECTOR FN(reals)
#include "products_fma.h"
#include "products_real.h"
#include "products_bits.h"
#undef REAL
#undef REAL_NAME
#undef REAL_VECTOR

#define REAL float
#define REAL_NAME f32
#define REAL_VECTOR FN(reals4)
#include "products_fma.h"
#include "products_real.h"
#include "products_bits.h"
#undef REAL
#undef REAL_NAME
#undef REAL_VECTOR

#undef RN
