/* fields.h for one instruction-set level: every loss of losses.h. */

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
