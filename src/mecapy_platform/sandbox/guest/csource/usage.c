/* What a worker has used that goes on after its call. */
#include "guest.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

/* A file of /proc about a process, as text. */
static int read_about(pid_t pid, const char *name, char *text, size_t most)
{
	char path[64];
	int file;
	ssize_t size;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	if ((file = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return -1;
	size = read(file, text, most - 1);
	close(file);
	text[size < 0 ? 0 : size] = 0;
	return size < 0 ? -1 : 0;
}

/* What a live worker has used since it started, with the children that it waited for. */
double cpu_of(pid_t pid)
{
	char text[1024];
	unsigned long user = 0, system = 0;
	struct timespec own = {0};

	clock_gettime((clockid_t)(~(unsigned)pid << 3 | 2), &own); /* as clock_getcpuclockid gives it */
	if (read_about(pid, "stat", text, sizeof text) == 0 && strrchr(text, ')') != NULL)
		sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %lu %lu", &user, &system);
	return (double)own.tv_sec + (double)own.tv_nsec / 1e9 + (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* The most memory it held since this was asked last. */
long peak_of(pid_t pid)
{
	char text[2048], path[64];
	const char *found;
	long kilobytes = 0;
	int again;

	if (read_about(pid, "status", text, sizeof text) == 0 && (found = strstr(text, "VmHWM:")) != NULL)
		sscanf(found, "VmHWM: %ld", &kilobytes);
	snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)pid);
	if ((again = open(path, O_WRONLY | O_CLOEXEC)) >= 0) {
		if (write(again, "5", 1) < 0)
			mecapy_step = "clear_refs";
		close(again);
	}
	return kilobytes * 1024;
}
