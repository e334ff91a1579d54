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

struct go { /* what a worker is told of a call that it shares with others */
	unsigned handler;
	int output[2]; /* of the receiver's: the descriptors that came along */
};

struct worker {
	pid_t pid, init;
	int pidfd, top, report;
	unsigned serial;
	double cpu_before; /* used up to the end of its last call, where it is kept */
};

enum { NOBODY_LISTENS, HAS_ENDED, CALL_IS_OVER, IS_SHARED };

int serve_calls(int channel, const struct worker *worker, const char *asked);
int hear_space(int report);
pid_t hear_call(int report);
int tell_call(int report, unsigned handler, const int *output);
double now(void);
int cover_counters(void);
int objects_stay(void);
int enter_workspace(void);
void copy_known_pages(void);
int fresh_network(void);
int network_is_untouched(void);
int renew_used_network(void);

unsigned open_outputs(int top); /* gives how many entries are not those that every call leaves */
ssize_t read_result(int top, char *text, size_t most);
int empty_workspace(int top);
ssize_t read_told(int top, const char *name, char *text, size_t most);
unsigned open_shared_outputs(int top);
int empty_shared_workspace(int top);
int workspace_is_new(int top);
double cpu_of(pid_t pid);
long peak_of(pid_t pid);
