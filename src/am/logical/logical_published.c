/*
 * logical_published.c
 *	  Whether the output plugin will leave a table's changes out anyway.
 *
 * Asked where a change's key is missing: of a table that is not published, no
 * key is needed.  Only pgoutput is known well enough to say.  The answer is
 * its own (get_rel_sync_entry in pgoutput.c), from the same catalogs at the
 * same snapshot, but for what it would have to open the change for.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "replication/pgoutput.h"
#include "utils/lsyscache.h"

#include "am/logical/logical.h"

/* Has the publication this table, itself or by its schema? */
static bool
has_table(const Publication *publication, Oid relid)
{
	return list_member_oid(GetRelationPublications(relid), publication->oid) ||
		list_member_oid(GetSchemaPublications(get_rel_namespace(relid)), publication->oid);
}

bool
verity_logical_is_left_out(LogicalDecodingContext *ctx, Relation rel)
{
	PGOutputData *plugin = ctx->output_plugin_private;
	List	   *tables = list_make1_oid(RelationGetRelid(rel));
	ListCell   *name;
	ListCell   *table;

	if (plugin == NULL || strcmp(NameStr(ctx->slot->data.plugin), "pgoutput") != 0)
		return false;
	if (rel->rd_rel->relispartition)
		tables = list_concat(tables, get_partition_ancestors(RelationGetRelid(rel)));
	foreach(name, plugin->publication_names)
	{
		Publication *publication = GetPublicationByName(lfirst(name), true);

		/* one that does not exist is the plugin's to complain about */
		if (publication == NULL || publication->alltables)
			return false;
		foreach(table, tables)
		{
			if (has_table(publication, lfirst_oid(table)))
				return false;
		}
	}
	return true;
}
