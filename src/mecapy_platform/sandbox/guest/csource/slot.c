/* One slot of a warm sandbox: makes a worker ahead of each call, follows it to its end, says how it ended. See guest/stem.py for the same
 * in Python. Everything before a worker returns from mecapy_serve_slot is here: a stem in C touches few pages of its Python process. */
#include "guest.h"
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define KERNEL_SIGSET_BYTES 8
#define SIGNAL_BIT(number) (1UL << ((number) - 1))
#define MAX_DESCRIPTORS 4
#define HEAD_BYTES 512
#define RESULT_BYTES 16384

struct watch {
	const char *reason;
	double started_at, limit_seconds, grace_seconds, stop_at, kill_at; /* moments; 0 for none */
	int may_keep; /* the worker serves further calls when this one is over */
};

/* A system call that does not touch errno: the first process of a call shares the stem's memory, and so its errno. */
static long raw(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	long answer;
	register long r10 __asm__("r10") = d;

	__asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return answer;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
#else
#error "no system calls known for this machine"
#endif
}

/* PID 1 of a call: passes SIGTERM on to all, reaps what loses its parent, ends by SIGKILL alone. It holds no descriptor. */
static int be_the_first_process(void *nothing)
{
	unsigned long everything = ~0UL, awaited = SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGTERM);

	(void)nothing;
	raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);
	raw(SYS_prctl, PR_SET_NAME, (long)"mecapy-init", 0, 0);
	raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&everything, 0, KERNEL_SIGSET_BYTES);
	raw(SYS_close_range, 0, ~0U, 0, 0);
	for (;;) {
		if (raw(SYS_rt_sigtimedwait, (long)&awaited, 0, 0, KERNEL_SIGSET_BYTES) == SIGTERM)
			raw(SYS_kill, -1, SIGTERM, 0, 0);
		while (raw(SYS_wait4, -1, 0, WNOHANG | __WALL, 0) > 0)
			;
	}
	return 0;
}

double now(void)
{
	struct timespec moment;

	clock_gettime(CLOCK_MONOTONIC, &moment);
	return (double)moment.tv_sec + (double)moment.tv_nsec / 1e9;
}

static int send_descriptors(int channel, const char *text, const int *descriptors, unsigned count)
{
	char control[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)] = {0};
	struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
	return sendmsg(channel, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* The one descriptor that comes with a message, or -1. */
static int receive_descriptor(int channel)
{
	char control[CMSG_SPACE(sizeof(int))] = {0}, text[8];
	struct iovec part = {text, sizeof text};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *header;
	int descriptor = -1;

	if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) > 0 && (header = CMSG_FIRSTHDR(&message)) != NULL && header->cmsg_type == SCM_RIGHTS)
		memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
	return descriptor;
}

/* When memory ends, the kernel shall take the call's processes. Dumpable first: the files below /proc/self are root's until then. */
static void prefer_for_oom(void)
{
	int score;

	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (score >= 0) {
		if (write(score, "500", 3) < 0)
			mecapy_step = "oom_score_adj";
		close(score);
	}
}

/* In the forked worker. Returns 0 with the descriptors at their places, or minus an error. */
static int become_worker(int report, int orders, int out, int err)
{
	int data, top;
	int places[] = {out, err, orders, -1, report};

	copy_known_pages();
	prctl(PR_SET_NAME, "mecapy-call", 0, 0, 0);
	top = enter_workspace();
	if (top < 0)
		return top;
	TRY("open(data.json)", data = open("/mnt/in/data.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
	prefer_for_oom();
	TRY("setsid", setsid()); /* a signal to its own group must not reach the stem */
	TRY("report", send_descriptors(report, "made", &top, 1));
	places[3] = data;
	for (int i = 0; i < 5; i++)
		TRY("descriptors", places[i] = fcntl(places[i], F_DUPFD_CLOEXEC, 64));
	for (int i = 0; i < 5; i++) /* 1, 2, then ORDER_FD, DATA_FD, REPORT_FD */
		TRY("descriptors", dup3(places[i], i + 1, i + 1 >= ORDER_FD ? O_CLOEXEC : 0));
	TRY("close_range", (int)syscall(SYS_close_range, FIRST_FREE_FD, ~0U, 0U));
	return 0;
}

/* Fork a worker into a PID namespace of its own and hand its ends to the platform. 1 in the stem, 0 in the worker. */
static int prepare(int channel, int home, struct worker *worker)
{
	static char stack[16384] __attribute__((aligned(16)));
	int orders[2], report[2], out[2], err[2], ends[MAX_DESCRIPTORS], answer;

	TRY("socketpair", socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders));
	TRY("socketpair", socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report));
	TRY("pipe", pipe2(out, O_CLOEXEC));
	TRY("pipe", pipe2(err, O_CLOEXEC));
	TRY("unshare(pid)", unshare(CLONE_NEWPID));
	TRY("clone", worker->init = clone(be_the_first_process, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
	TRY("fork", worker->pid = fork());
	if (worker->pid == 0) {
		answer = become_worker(report[1], orders[1], out[1], err[1]);
		if (answer < 0)
			_exit(1);
		return 0;
	}
	TRY("setns(pid)", setns(home, CLONE_NEWPID));
	close(orders[1]);
	close(report[1]);
	close(out[1]);
	close(err[1]);
	worker->top = receive_descriptor(report[0]);
	worker->report = report[0];
	worker->cpu_before = 0;
	if (worker->top < 0) {
		mecapy_step = "the worker";
		return -ECHILD;
	}
	TRY("pidfd_open", worker->pidfd = (int)syscall(SYS_pidfd_open, worker->pid, 0));
	ends[0] = orders[0], ends[1] = out[0], ends[2] = err[0], ends[3] = worker->top;
	answer = send_descriptors(channel, "ready", ends, MAX_DESCRIPTORS);
	for (int i = 0; i < 3; i++)
		close(ends[i]);
	worker->serial++;
	return answer < 0 ? -EPIPE : 1;
}

/* SIGTERM to all of it: the first process passes it on. */
static void ask_to_stop(const struct worker *worker, struct watch *watch)
{
	if (watch->kill_at > 0)
		return;
	watch->kill_at = now() + watch->grace_seconds;
	watch->stop_at = 0;
	kill(worker->init, SIGTERM);
}

/* `run N LIMIT GRACE KEEP`, `stop N`, `kill N`, each meant for the call number N; 0: it must end now. */
static int obey(const char *text, const struct worker *worker, struct watch *watch)
{
	char word[8];
	unsigned serial;
	double limit = 0, grace = 0;
	int may_keep = 0;

	if (sscanf(text, "%7s %u %lf %lf %d", word, &serial, &limit, &grace, &may_keep) < 2 || serial != worker->serial)
		return 1;
	if (strcmp(word, "run") == 0) {
		watch->started_at = now();
		watch->limit_seconds = limit;
		watch->grace_seconds = grace;
		watch->stop_at = watch->started_at + limit;
		watch->may_keep = may_keep;
	} else if (strcmp(word, "stop") == 0) {
		watch->reason = "stopped";
		ask_to_stop(worker, watch);
	} else if (strcmp(word, "kill") == 0) {
		watch->reason = "stopped";
		return 0;
	}
	return 1;
}

#define IDLE_LOOK_MS 1000
#define IDLE_CPU_SECONDS 0.5

/* Whether the worker was kept after a call and none has begun since: then it has nothing to do, whatever it said of itself. */
static int is_idle(const struct worker *worker, const struct watch *watch)
{
	return worker->cpu_before > 0 && watch->started_at <= 0;
}

/* Milliseconds until something is due, -1 for never. */
static int until_due(const struct watch *watch)
{
	double due = watch->stop_at > 0 ? watch->stop_at : watch->kill_at;
	double seconds;

	if (due <= 0)
		return -1;
	seconds = due - now();
	return seconds <= 0 ? 0 : seconds > 1e6 ? 1000000000 : (int)(seconds * 1000) + 1;
}

/* Return when the worker has ended or must, or when a call of a worker that may be kept is over. */
static int follow(int channel, const struct worker *worker, struct watch *watch)
{
	struct pollfd waits[] = {{worker->pidfd, POLLIN, 0}, {channel, POLLIN, 0}, {worker->report, POLLIN, 0}};
	char text[256];

	for (;;) {
		double moment;

		poll(waits, watch->may_keep ? 3 : 2, is_idle(worker, watch) ? IDLE_LOOK_MS : until_due(watch));
		if (waits[0].revents)
			return HAS_ENDED;
		if (is_idle(worker, watch) && cpu_of(worker->pid) > worker->cpu_before + IDLE_CPU_SECONDS)
			return HAS_ENDED;
		if (waits[1].revents) {
			ssize_t size = recv(channel, text, sizeof text - 1, 0);

			if (size <= 0)
				return NOBODY_LISTENS;
			text[size] = 0;
			if (strncmp(text, "share ", 6) == 0)
				return serve_calls(channel, worker, text);
			if (!obey(text, worker, watch))
				return HAS_ENDED;
		}
		if (watch->may_keep && waits[2].revents) {
			if (recv(worker->report, text, sizeof text, MSG_DONTWAIT) > 0)
				return watch->kill_at > 0 ? HAS_ENDED : CALL_IS_OVER;
			watch->may_keep = 0; /* its end is closed: it ends, or will be stopped */
		}
		moment = now();
		if (watch->stop_at > 0 && moment >= watch->stop_at) {
			watch->reason = "timeout";
			ask_to_stop(worker, watch);
		}
		if (watch->kill_at > 0 && moment >= watch->kill_at)
			return HAS_ENDED;
	}
}

static double cpu_seconds(const struct rusage *used)
{
	return (double)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) + (double)(used->ru_utime.tv_usec + used->ru_stime.tv_usec) / 1e6;
}

static char told[HEAD_BYTES + RESULT_BYTES]; /* a line that says how a call ended, and its result; wiped after each */

struct end {
	int status, is_kept;
	double cpu_seconds;
	long peak_bytes;
};

/* Say how a call ended: a line of JSON, and behind it a small result that is all the call left, which lies in `text` behind the room for
 * that line. */
static int tell_end(int channel, const struct worker *worker, const struct watch *watch, const struct end *end, char *text, ssize_t result)
{
	char code[16] = "null", number[16] = "null";
	int head;

	if (WIFEXITED(end->status))
		snprintf(code, sizeof code, "%d", WEXITSTATUS(end->status));
	else
		snprintf(number, sizeof number, "%d", WTERMSIG(end->status));
	head = snprintf(text, HEAD_BYTES,
			"{\"ended\": {\"reason\": \"%s\", \"exit_code\": %s, \"signal\": %s, \"wall_seconds\": %.6f, "
			"\"cpu_seconds\": %.6f, \"peak_bytes\": %ld}, \"serial\": %u, \"is_all\": %s, \"kept\": %s}\n",
			watch->reason, code, number, now() - watch->started_at, end->cpu_seconds, end->peak_bytes, worker->serial,
			result < 0 ? "false" : "true", end->is_kept ? "true" : "false");
	if (result > 0)
		memmove(text + head, text + HEAD_BYTES, (size_t)result);
	TRY("send", send(channel, text, (size_t)head + (result > 0 ? (size_t)result : 0), MSG_NOSIGNAL));
	return 0;
}

/* Kill what is left, wait for all of it, make the outputs readable, say how it ended. Nothing of the call stays here: the next one is a
 * fork of this process. */
static int finish(int channel, struct worker *worker, const struct watch *watch, int heard)
{
	char *text = told;
	struct rusage used, by_init;
	struct end end = {0};
	int answer = 0;
	pid_t ended;
	ssize_t result = -1;

	kill(worker->init, SIGKILL);
	TRY("wait(worker)", wait4(worker->pid, &end.status, 0, &used));
	do /* comes back when the namespace is empty: with it what became a child of this process otherwise */
		TRY("wait(init)", ended = wait4(-1, NULL, __WALL, &by_init));
	while (ended != worker->init);
	if (open_outputs(worker->top) == 0)
		result = read_result(worker->top, text + HEAD_BYTES, RESULT_BYTES);
	close(worker->top);
	close(worker->pidfd);
	close(worker->report);
	end.cpu_seconds = cpu_seconds(&used) + cpu_seconds(&by_init) - worker->cpu_before;
	end.peak_bytes = used.ru_maxrss * 1024;
	if (heard == CALL_IS_OVER) /* it was killed after that */
		end.status = 0;
	if (heard != NOBODY_LISTENS)
		answer = tell_end(channel, worker, watch, &end, text, result);
	explicit_bzero(text, HEAD_BYTES + (result > 0 ? (size_t)result : 0));
	return answer;
}

/* The end of a call whose worker serves the next one too: 1, with an empty workspace. 0 where it must not: it left more than a small
 * result, or used the network. */
static int keep(int channel, struct worker *worker, const struct watch *watch)
{
	struct end end = {.is_kept = 1};
	ssize_t result = -1;
	double used;
	int answer = 0;

	if (open_outputs(worker->top) == 0)
		result = read_result(worker->top, told + HEAD_BYTES, RESULT_BYTES);
	if (result >= 0 && network_is_untouched() && empty_workspace(worker->top) == 0) {
		used = cpu_of(worker->pid);
		end.cpu_seconds = used - worker->cpu_before;
		end.peak_bytes = peak_of(worker->pid);
		answer = tell_end(channel, worker, watch, &end, told, result);
		worker->cpu_before = used;
		worker->serial++;
		answer = answer < 0 ? answer : 1;
	}
	explicit_bzero(told, HEAD_BYTES + (result > 0 ? (size_t)result : 0));
	return answer;
}

/* Serve a slot until its channel has no other end: then 1. Returns 0 in every worker that it forks, ready to take its order. */
VISIBLE int mecapy_serve_slot(int channel)
{
	struct worker worker = {0};
	int home, answer, heard = HAS_ENDED;

	prctl(PR_SET_NAME, "mecapy-slot", 0, 0, 0);
	TRY("open(namespace)", home = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
	while (heard != NOBODY_LISTENS) {
		struct watch watch = {.reason = "exited"};

		if (heard == HAS_ENDED && (answer = prepare(channel, home, &worker)) <= 0)
			return answer;
		watch.started_at = now();
		heard = follow(channel, &worker, &watch);
		if (heard == CALL_IS_OVER && (answer = keep(channel, &worker, &watch)) != 0) {
			if (answer < 0)
				return answer;
			continue;
		}
		answer = finish(channel, &worker, &watch, heard);
		if (answer >= 0 && heard != NOBODY_LISTENS)
			answer = renew_used_network();
		if (answer < 0)
			return answer;
		if (heard == CALL_IS_OVER)
			heard = HAS_ENDED;
	}
	return 1;
}
