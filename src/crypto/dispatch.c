/*
 * dispatch.c
 *	  Finding an algorithm's functions in its provider.
 */
#include "dispatch.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* Is name one of names, which colons separate? */
static int
is_named(const char *names, const char *name)
{
	size_t		len = strlen(name);

	for (;;)
	{
		if (strncasecmp(names, name, len) == 0 && (names[len] == ':' || names[len] == '\0'))
			return 1;
		names = strchr(names, ':');
		if (names == NULL)
			return 0;
		names++;
	}
}

const OSSL_DISPATCH *
dispatch_table(const OSSL_PROVIDER *provider, int operation, const char *name)
{
	const OSSL_ALGORITHM *algorithms;
	const OSSL_DISPATCH *table = NULL;
	int			no_cache;

	algorithms = OSSL_PROVIDER_query_operation(provider, operation, &no_cache);
	for (const OSSL_ALGORITHM *one = algorithms; one != NULL && one->algorithm_names != NULL; one++)
	{
		if (!is_named(one->algorithm_names, name))
			continue;
		table = one->implementation;
		break;
	}
	OSSL_PROVIDER_unquery_operation(provider, operation, algorithms);
	return table;
}

dispatch_function
dispatch_get(const OSSL_DISPATCH *table, int id)
{
	for (; table != NULL && table->function_id != 0; table++)
		if (table->function_id == id)
			return table->function;
	return NULL;
}
