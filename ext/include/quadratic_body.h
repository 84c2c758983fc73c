/* quadratic.h for one instruction-set level: the three kinds of coupling. */

#define KIND int16
#define ITEM int16_t
#define FIELD int32_t
#include "quadratic_kind.h"

#define KIND int32
#define ITEM int32_t
#define FIELD int32_t
#include "quadratic_kind.h"

#define KIND float64
#define ITEM double
#define FIELD double
#include "quadratic_kind.h"
