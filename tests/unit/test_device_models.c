/* SPDX-License-Identifier: BSD-2-Clause */
/* Every device model of the tree is complete (I9): linked with all of them by the Makefile. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "hv/core/device.h"

enum { NAME_MAX_DT = 31, MODELS_AT_LEAST = 17 };

static void every_member_is_there(void **state)
{
	const struct device_model *const *m;
	unsigned count = 0;

	for (m = __start_device_models; m < __stop_device_models; m++, count++) {
		assert_non_null((*m)->compatible);
		assert_int_equal(strncmp((*m)->compatible, "amber,", 6), 0);
		assert_true((*m)->version >= 1);
		assert_non_null((*m)->doc);
		assert_non_null((*m)->fields);
		assert_non_null((*m)->create);
		assert_non_null((*m)->destroy);
		assert_non_null((*m)->reset);
		assert_non_null((*m)->quiesce);
		assert_non_null((*m)->resume);
		assert_non_null((*m)->check);
		assert_non_null((*m)->loaded);
		assert_true(!(*m)->optional || (*m)->class != DEVCLASS_CONFIG);
		assert_ptr_equal(device_model_find((*m)->compatible), *m);
	}
	assert_true(count >= MODELS_AT_LEAST);
}

static void fields_lie_in_the_state_and_have_names(void **state)
{
	const struct device_model *const *m;

	for (m = __start_device_models; m < __stop_device_models; m++) {
		const struct state_field *f, *g;

		for (f = (*m)->fields; f->name; f++) {
			assert_true(strlen(f->name) <= NAME_MAX_DT);
			assert_non_null(f->doc);
			assert_true(
			    f->width == 1 || f->width == 2 || f->width == 4 || f->width == 8);
			assert_true(f->offset + (size_t)f->width * f->count <= (*m)->state_size);
			for (g = (*m)->fields; g < f; g++)
				assert_string_not_equal(f->name, g->name);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_member_is_there),
	    cmocka_unit_test(fields_lie_in_the_state_and_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
