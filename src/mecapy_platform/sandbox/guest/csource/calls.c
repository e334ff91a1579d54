/* Calls that share a worker: it has loaded their module, and each of them is a fork of it, or, with `reuse`, runs in it.
 * Three parts of ours take part. The worker's loop (mecapy_fork_calls) forks when it is told to: here the tenant's module is loaded, so
 * nothing that it says is believed. The first process of the calls' own PID namespace (keep_space) ends what a call leaves; it runs
 * nothing of a tenant, and calls cannot see the worker, which is outside of that namespace. The stem (serve_calls) writes inputs, is the
 * parent of each call, reads its end, usage, output and result, and empties the workspace before the next. See ADR 21. */
#include "guest.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif
#ifndef CLONE_PARENT
#define CLONE_PARENT 0x00008000
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define IDLE_REAP_MS 200
#define FD_SPACE (CMSG_SPACE(sizeof(int) * 2) + CMSG_SPACE(sizeof(struct ucred)))

static int *own_tid; /* where the C library keeps this thread's number; a fork of ours has another */

/* One word with descriptors. 0, or minus an error. */
static int send_word(int channel, const void *word, size_t size, const int *descriptors, unsigned count)
{
	char control[CMSG_SPACE(sizeof(int) * 2)] = {0};
	struct iovec part = {(void *)(uintptr_t)word, size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (count > 0) {
		struct cmsghdr *header;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
	}
	return sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0; /* who does not listen holds nobody up */
}

/* The first two of those that came; who sends more may be a tenant's code, and they are closed. */
static void take_descriptors(const struct cmsghdr *header, int descriptors[2])
{
	unsigned count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));

	for (unsigned i = 0; i < count; i++) {
		int descriptor;

		memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof descriptor);
		if (i < 2 && descriptors[i] < 0)
			descriptors[i] = descriptor;
		else
			close(descriptor);
	}
}

/* A word with up to two descriptors (-1 where none came) and, where the channel tells it, its sender. Its size, 0 at the end, or -1. */
static ssize_t hear_word(int channel, void *word, size_t size, int descriptors[2], pid_t *sender)
{
	char control[FD_SPACE] = {0};
	struct iovec part = {word, size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ssize_t answer = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);

	descriptors[0] = descriptors[1] = -1;
	if (sender != NULL)
		*sender = 0;
	if (answer <= 0)
		return answer;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
			take_descriptors(header, descriptors);
		else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS && sender != NULL)
			*sender = ((const struct ucred *)(const void *)CMSG_DATA(header))->pid;
	}
	return answer;
}

static void drop_all(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};

	syscall(SYS_capset, &header, none);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* The first process of the calls' namespace. It is asked one byte at a time: P to show that namespace in /proc, once the module is loaded;
 * T to pass SIGTERM on; C to kill all that is there. It answers P and C: 0, or 1 where something stays. */
static void keep_space(int channel)
{
	sigset_t everything;
	char asked, answer;

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "mecapy-init", 0, 0, 0);
	sigfillset(&everything);
	sigprocmask(SIG_SETMASK, &everything, NULL);
	dup2(channel, 0);
	syscall(SYS_close_range, 1, ~0U, 0);
	for (;;) {
		struct pollfd waits = {0, POLLIN, 0};

		poll(&waits, 1, IDLE_REAP_MS);
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		if (!waits.revents)
			continue;
		if (recv(0, &asked, 1, 0) <= 0)
			_exit(0);
		answer = 0;
		if (asked == 'T') {
			kill(-1, SIGTERM);
			continue;
		}
		if (asked == 'P') {
			answer = mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 || cover_counters() < 0;
			drop_all();
		} else if (kill(-1, SIGKILL) == 0) {
			while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
				;
			answer = 1;
		} else {
			answer = objects_stay() != 0 ? 2 : 0;
		}
		send(0, &answer, 1, MSG_NOSIGNAL);
	}
}

/* In the worker, before it is sealed: what it forks from now on is in a PID namespace of its own, whose first process the stem is given
 * a channel to. */
VISIBLE int mecapy_begin_calls(void)
{
	int channel[2], answer;
	pid_t first;

	TRY("tid", prctl(PR_GET_TID_ADDRESS, &own_tid, 0, 0, 0) < 0 ? (own_tid = NULL, 0) : 0);
	TRY("socketpair", socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel));
	TRY("unshare(pid)", unshare(CLONE_NEWPID));
	TRY("fork", first = fork());
	if (first == 0)
		keep_space(channel[1]);
	answer = send_word(REPORT_FD, "space", 5, channel, 1);
	close(channel[0]);
	close(channel[1]);
	return answer;
}

/* A fork whose parent is the stem: so the stem, and not this process, is told how it ended. */
static pid_t fork_for_the_stem(void)
{
	unsigned long flags = CLONE_PARENT | SIGCHLD;

	if (own_tid != NULL)
		flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
#if defined(__x86_64__)
	return (pid_t)syscall(SYS_clone, flags, 0UL, NULL, own_tid, 0UL);
#else
	return (pid_t)syscall(SYS_clone, flags, 0UL, NULL, 0UL, own_tid);
#endif
}

/* Wait for a call: its handler's number, with its output where the descriptors came along; -1 when nobody is there any more. */
static int await_call(struct go *call)
{
	int output[2];
	ssize_t size;

	do
		size = hear_word(REPORT_FD, call, sizeof *call, output, NULL);
	while (size < 0 && errno == EINTR);
	if (size != (ssize_t)sizeof *call)
		return -1;
	call->output[0] = output[0];
	call->output[1] = output[1];
	return (int)call->handler;
}

static void take_output(const struct go *call)
{
	for (int i = 0; i < 2; i++) {
		dup3(call->output[i], i + 1, 0);
		close(call->output[i]);
	}
}

/* The loop of a worker that is forked for each call: gives the handler's number in each fork, -1 in the worker at the end. */
VISIBLE int mecapy_fork_calls(void)
{
	struct go call;
	pid_t child;

	while (await_call(&call) >= 0) {
		child = fork_for_the_stem();
		if (child == 0) {
			send(REPORT_FD, "call", 4, MSG_NOSIGNAL); /* the kernel adds who says so */
			take_output(&call);
			close(REPORT_FD);
			setsid();
			prctl(PR_SET_NAME, "mecapy-call", 0, 0, 0);
			return (int)call.handler;
		}
		close(call.output[0]);
		close(call.output[1]);
		if (child < 0)
			send(REPORT_FD, "none", 4, MSG_NOSIGNAL);
	}
	return -1;
}

/* The next call of a worker that runs them itself: its handler's number, -1 at the end. */
VISIBLE int mecapy_await_call(void)
{
	struct go call;
	int handler = await_call(&call);

	if (handler >= 0 && call.output[0] >= 0)
		take_output(&call);
	return handler;
}

/* Below here: in the stem. */

int hear_space(int report)
{
	char word[8];
	int descriptors[2];

	return hear_word(report, word, sizeof word, descriptors, NULL) == 5 ? descriptors[0] : -1;
}

pid_t hear_call(int report)
{
	char word[8];
	int descriptors[2];
	pid_t sender;
	ssize_t size = hear_word(report, word, sizeof word, descriptors, &sender);

	for (int i = 0; i < 2; i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
	return size == 4 && word[0] == 'c' ? sender : -1;
}

int tell_call(int report, unsigned handler, const int *output)
{
	struct go call = {handler, {-1, -1}};

	return send_word(report, &call, sizeof call, output, output == NULL ? 0 : 2);
}
