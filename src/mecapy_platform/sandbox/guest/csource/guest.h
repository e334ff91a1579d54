/* Shared by the files of _guest.so. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <sys/types.h>
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

/* The descriptors of a worker: 0 is /dev/null, 1 and 2 are the tenant's output, then the order's channel, in/data.json, and what tells
 * the stem that a call of a worker that is kept has ended. */
enum { ORDER_FD = 3, DATA_FD = 4, REPORT_FD = 5, FIRST_FREE_FD = 6 };

int enter_workspace(void);
void copy_known_pages(void);
int fresh_network(void);
int network_is_untouched(void);
int renew_used_network(void);

unsigned open_outputs(int top); /* gives how many entries are not those that every call leaves */
ssize_t read_result(int top, char *text, size_t most);
int empty_workspace(int top);
double cpu_of(pid_t pid);
long peak_of(pid_t pid);
