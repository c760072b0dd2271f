/*
 * log.c
 *	  Rows of verity tables stay out of the server's log.
 *
 * The detail of a constraint violation shows the row or its key, the context of
 * a COPY shows the line, and the statement holds the values: all of them plain
 * text of a sealed table, in a file that nobody seals.  The log gets the error
 * without them; what the client gets is PostgreSQL's, which shows only columns
 * that the user may read.
 */
#include "postgres.h"

#include "access/xact.h"
#include "am/rel.h"
#include "catalog/namespace.h"
#include "sql/ddl/ddl.h"
#include "utils/elog.h"
#include "utils/lsyscache.h"

#define REDACTED "The row is of a verity table and is not logged."

static emit_log_hook_type prev_emit_log;

/*
 * Is this the violation of a verity table's constraint?  Such errors come from
 * the executor, with no lock held and the transaction still whole, so that
 * the catalogs can be asked.
 */
static bool
shows_sealed_row(ErrorData *edata)
{
	static bool looking = false;
	Oid			namespace;
	volatile bool result = false;

	if (looking || edata->elevel != ERROR || edata->table_name == NULL ||
		edata->schema_name == NULL || !IsTransactionState() ||
		ERRCODE_TO_CATEGORY(edata->sqlerrcode) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		return false;

	looking = true;
	PG_TRY();
	{
		namespace = get_namespace_oid(edata->schema_name, true);
		if (OidIsValid(namespace))
			result = verity_is_table_oid(get_relname_relid(edata->table_name, namespace));
	}
	PG_FINALLY();
	{
		looking = false;
	}
	PG_END_TRY();
	return result;
}

static void
verity_emit_log(ErrorData *edata)
{
	if (shows_sealed_row(edata))
	{
		if (edata->detail || edata->detail_log)
			edata->detail_log = pstrdup(REDACTED);
		edata->hide_ctx = true;
		edata->hide_stmt = true;
	}
	if (prev_emit_log)
		prev_emit_log(edata);
}

void
verity_log_init(void)
{
	prev_emit_log = emit_log_hook;
	emit_log_hook = verity_emit_log;
}
