/* Shared by the files of _guest.so. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#define VISIBLE __attribute__((visibility("default")))

/* The step that failed last; told beside the error number. */
extern const char *mecapy_step;

#define TRY(step, call)                \
	do {                           \
		mecapy_step = (step);  \
		if ((call) < 0)        \
			return -errno; \
	} while (0)

/* The descriptors of a worker: 0 is /dev/null, 1 and 2 are the tenant's output, then the order's channel and in/data.json. */
enum { ORDER_FD = 3, DATA_FD = 4, FIRST_FREE_FD = 5 };

int enter_workspace(void);
void copy_known_pages(void);
int fresh_network(void);
int renew_used_network(void);
