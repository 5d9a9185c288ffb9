/*
 * Security label providers for the tests: they take any label but "refused".
 * PostgreSQL ships none that can run without SELinux.
 */
#include "postgres.h"

#include "commands/seclabel.h"
#include "fmgr.h"

PG_MODULE_MAGIC;

void _PG_init(void);

static void
check_label(const ObjectAddress *object, const char *label)
{
	if (label != NULL && strcmp(label, "refused") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the label \"%s\" is not allowed", label)));
}

void
_PG_init(void)
{
	register_label_provider("pgkeep_test", check_label);
	register_label_provider("odd \"provider", check_label);
}
