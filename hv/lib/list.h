/* SPDX-License-Identifier: BSD-2-Clause */
/* A doubly linked ring of nodes embedded in their objects. */
#ifndef AMBER_LIB_LIST_H
#define AMBER_LIB_LIST_H

#include "hv/lib/types.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(l)                                                                               \
	{                                                                                          \
		&(l), &(l)                                                                         \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}
static inline void list_insert_before(struct list *pos, struct list *n)
{
	n->prev = pos->prev;
	n->next = pos;
	pos->prev->next = n;
	pos->prev = n;
}
static inline void list_push_back(struct list *head, struct list *n)
{
	list_insert_before(head, n);
}
static inline void list_push_front(struct list *head, struct list *n)
{
	list_insert_before(head->next, n);
}
/* Unlinks n and leaves it an empty ring, so that removing twice is harmless. */
static inline void list_remove(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}
static inline struct list *list_pop_front(struct list *head)
{
	struct list *n = head->next;

	if (n == head)
		return NULL;
	list_remove(n);
	return n;
}

#define LIST_FOREACH(pos, head) for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)
#define LIST_FOREACH_SAFE(pos, tmp, head)                                                          \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head);                           \
	     (pos) = (tmp), (tmp) = (pos)->next)
#define LIST_ENTRY(n, type, member) CONTAINER_OF(n, type, member)

#endif
