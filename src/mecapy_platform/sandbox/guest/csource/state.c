/* What a call of a worker that is kept may have left of its process: looked at between two calls, in one step instead of one for
 * each from Python. See guest/reuse.py, which puts back what can be put back. */
#include "guest.h"
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define NAMES_BYTES 4096
#define STATE_NUMBERS 64 /* as in guest/native.py */

struct entry { /* as the kernel writes it */
	uint64_t inode, offset;
	unsigned short bytes;
	unsigned char kind;
	char name[];
};

struct known { /* a descriptor that every call finds, and what it stands for */
	uint64_t number, device, inode;
};

/* Whether there is a process beside the first of the namespace and this one. Gives 1, 0, or minus an error. */
static int others_live(void)
{
	char names[NAMES_BYTES] __attribute__((aligned(8)));
	long size;
	int folder, found = 0;

	TRY("open(proc)", folder = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	while ((size = syscall(SYS_getdents64, folder, names, sizeof names)) > 0)
		for (long at = 0; at < size; at += ((const struct entry *)(names + at))->bytes) {
			const char *name = ((const struct entry *)(names + at))->name;

			if (name[0] >= '0' && name[0] <= '9' && strcmp(name, "1") != 0 && strcmp(name, "2") != 0)
				found = 1;
		}
	close(folder);
	return size < 0 ? -EIO : found;
}

/* Whether the kernel holds an object of the call that outlives its maker. */
int objects_stay(void)
{
	struct shm_info segments;
	struct msginfo queues;
	struct seminfo semaphores;
	union {
		struct seminfo *info;
	} asked = {&semaphores};

	TRY("shmctl", shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&segments));
	TRY("msgctl", msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&queues));
	TRY("semctl", semctl(0, 0, SEM_INFO, asked));
	return segments.used_ids > 0 || queues.msgpool > 0 || semaphores.semusz > 0;
}

/* Numbers that a call must leave as they are: niceness, session, group, processors, threads, limits. Gives 0; 1 where something of a call
 * goes on beside this process, or stays behind; minus an error. */
VISIBLE int mecapy_process_state(uint64_t *found)
{
	cpu_set_t processors;
	struct rlimit limit;
	struct stat tasks;
	unsigned count = 0;
	int others;

	CPU_ZERO(&processors);
	memset(found, 0, STATE_NUMBERS * sizeof *found);
	TRY("sched_getaffinity", sched_getaffinity(0, sizeof processors, &processors));
	TRY("stat(task)", stat("/proc/self/task", &tasks));
	found[count++] = (uint64_t)getpriority(PRIO_PROCESS, 0);
	found[count++] = (uint64_t)getsid(0);
	found[count++] = (uint64_t)getpgid(0);
	found[count++] = tasks.st_nlink; /* one for each thread */
	memcpy(found + count, &processors, 16 * sizeof *found);
	count += 16;
	for (unsigned kind = 0; kind < RLIM_NLIMITS && count + 2 <= STATE_NUMBERS; kind++) {
		TRY("getrlimit", getrlimit(kind, &limit));
		found[count++] = limit.rlim_cur;
		found[count++] = limit.rlim_max;
	}
	others = others_live();
	return others != 0 ? others : objects_stay();
}

/* Close every descriptor but the known ones, which come in the order of their numbers. Gives 0, or 1 where one of these is another. */
VISIBLE int mecapy_close_others(const struct known *known, unsigned count)
{
	struct stat seen;
	unsigned next = 0;

	for (unsigned i = 0; i < count; i++) {
		if (known[i].number > next)
			TRY("close_range", (int)syscall(SYS_close_range, next, (unsigned)known[i].number - 1, 0U));
		next = (unsigned)known[i].number + 1;
		if (fstat((int)known[i].number, &seen) < 0 || seen.st_dev != known[i].device || seen.st_ino != known[i].inode)
			return 1;
	}
	TRY("close_range", (int)syscall(SYS_close_range, next, ~0U, 0U));
	return 0;
}
