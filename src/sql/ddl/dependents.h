/*
 * dependents.h
 *	  Which verity tables an object reaches.
 */
#ifndef VERITY_DEPENDENTS_H
#define VERITY_DEPENDENTS_H

#include "postgres.h"

#include "nodes/pg_list.h"

typedef struct DependentObject
{
	Oid			class;			/* catalog that it is in */
	Oid			object;
} DependentObject;

/* OIDs of the verity tables whose definition these objects may be part of. */
extern List *verity_dependent_tables(const DependentObject *objects, int count);

#endif							/* VERITY_DEPENDENTS_H */
