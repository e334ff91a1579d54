/* The stem's part in calls that share a worker: see calls.c. Calls come in batches, and so do their ends: bytes, not text, as here nobody
 * parses. All of it is wiped when the worker is gone, because the next one is a fork of this process. */
#include "guest.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define ROOM (128 << 10)
#define PIECE 16384 /* of a result, and of each stream of output */
#define ANSWER_MS 10000
#define TELL_SECONDS 0.05
#define CLEAN_ROUNDS 1000
#define LOW_BYTES (1 << 16)

struct batch { /* as sandbox/bubblewrap/shared_channel.py writes it; the texts follow */
	char word[8];
	uint32_t count, unused;
};

struct asked {
	uint32_t number, handler, bytes, unused;
	double limit_seconds, grace_seconds;
};

enum { EXITED, TIMEOUT, STOPPED, LOG_LIMIT };
enum { IS_ALL = 1, IS_ERROR = 2, DISK_IS_FULL = 4, NO_MORE_FILES = 8 };

struct end { /* as it is read there; result and output follow */
	uint32_t number;
	int32_t code; /* exit code, or minus a signal */
	uint32_t reason, flags, result_bytes, out_bytes, err_bytes, unused;
	double wall_seconds, cpu_seconds;
	uint64_t peak_bytes, log_bytes;
};

struct stream {
	int end;
	uint64_t total;
	uint32_t kept;
	char text[PIECE];
};

static char received[ROOM] __attribute__((aligned(8))), told[ROOM];
static struct stream streams[2];

static struct shared {
	int channel, space;
	const struct worker *worker;
	unsigned long log_most;
	int reuse, has_output;
	size_t told_bytes;
	double told_at, cpu_before;
} ours;

struct call {
	const struct asked *asked;
	int done, reason; /* `done`: readable at its end */
	pid_t pid;
	double started_at, stop_at, kill_at;
};

static int tell(void)
{
	size_t bytes = ours.told_bytes;

	ours.told_at = now();
	ours.told_bytes = 8;
	return bytes > 8 && send(ours.channel, told, bytes, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* One byte asked of the first process of the calls; its answer, or -1. */
static int ask(char word)
{
	struct pollfd waits = {ours.space, POLLIN, 0};
	char answer;

	if (send(ours.space, &word, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
		return -1;
	return poll(&waits, 1, ANSWER_MS) == 1 && recv(ours.space, &answer, 1, 0) == 1 ? answer : -1;
}

/* Reap what became a child of this process beside the call; 0 where the worker itself is gone. */
static int reap_strays(void)
{
	siginfo_t seen;

	for (;;) {
		seen.si_pid = 0;
		if (waitid(P_ALL, 0, &seen, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || seen.si_pid == 0)
			return 1;
		if (seen.si_pid == ours.worker->pid || seen.si_pid == ours.worker->init)
			return 0;
		waitpid(seen.si_pid, NULL, __WALL);
	}
}

/* Kill all that lives where calls live, until nothing does. 0, or -1 where something stays. */
static int clean(void)
{
	for (int round = 0; round < CLEAN_ROUNDS; round++) {
		int answer = ask('C');

		if (answer == 0)
			return 0;
		if (answer != 1 || !reap_strays())
			return -1;
		if (round > 0)
			poll(NULL, 0, 1);
	}
	return -1;
}

static void read_stream(struct stream *stream)
{
	static char beyond[PIECE];
	ssize_t size;

	for (;;) {
		size_t room = PIECE - stream->kept;

		size = read(stream->end, room > 0 ? stream->text + stream->kept : beyond, room > 0 ? room : PIECE);
		if (size <= 0)
			return;
		stream->total += (uint64_t)size;
		if (room > 0)
			stream->kept += (uint32_t)size;
	}
}

static int open_streams(int writers[2])
{
	for (int i = 0; i < 2; i++) {
		int ends[2];

		TRY("pipe", pipe2(ends, O_CLOEXEC));
		fcntl(ends[0], F_SETFL, O_NONBLOCK);
		streams[i].end = ends[0];
		streams[i].total = streams[i].kept = 0;
		writers[i] = ends[1];
	}
	return 0;
}

static void close_streams(void)
{
	for (int i = 0; i < 2; i++) {
		if (streams[i].end >= 0)
			close(streams[i].end);
		streams[i].end = -1;
	}
	ours.has_output = 0;
}

static int write_inputs(const char *text, size_t bytes)
{
	int data = openat(ours.worker->top, "in/data.json", O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC), answer;

	if (data < 0)
		return -1;
	answer = write(data, text, bytes) == (ssize_t)bytes ? 0 : -1;
	close(data);
	return answer;
}

/* Whether this can be a call: a tenant's module may have said so, and then the kernel tells the pid of who did. A call is our child. */
static int is_call(pid_t pid)
{
	siginfo_t seen;

	if (pid <= 0 || pid == ours.worker->pid || pid == ours.worker->init)
		return 0;
	return waitid(P_PID, (id_t)pid, &seen, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/* Let the worker begin a call. 0, or -1 where it does not. */
static int begin(struct call *call, const char *text)
{
	int writers[2] = {-1, -1}, needs_output = !ours.has_output;
	struct pollfd waits[] = {{ours.worker->report, POLLIN, 0}, {ours.worker->pidfd, POLLIN, 0}};

	if (write_inputs(text, call->asked->bytes) < 0 || (needs_output && open_streams(writers) < 0))
		return -1;
	ours.has_output = 1;
	for (int i = 0; i < 2; i++)
		streams[i].total = streams[i].kept = 0;
	call->started_at = now();
	call->stop_at = call->started_at + call->asked->limit_seconds;
	if (tell_call(ours.worker->report, call->asked->handler, needs_output ? writers : NULL) < 0)
		return -1;
	if (needs_output) {
		close(writers[0]);
		close(writers[1]);
	}
	if (ours.reuse) {
		call->pid = ours.worker->pid;
		call->done = ours.worker->report;
		ours.cpu_before = cpu_of(call->pid);
		return 0;
	}
	if (poll(waits, 2, ANSWER_MS) < 1 || !waits[0].revents || !is_call(call->pid = hear_call(ours.worker->report)))
		return -1;
	call->done = (int)syscall(SYS_pidfd_open, call->pid, 0);
	return call->done < 0 ? -1 : 0;
}

static void ask_to_stop(struct call *call, int reason)
{
	if (call->kill_at > 0)
		return;
	call->reason = reason;
	call->kill_at = now() + call->asked->grace_seconds;
	call->stop_at = 0;
	if (ours.reuse)
		kill(ours.worker->init, SIGTERM);
	else
		send(ours.space, "T", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* `stop SERIAL NUMBER` of the call that runs, `kill SERIAL` of all. 0: all must end; -1: nobody is there any more. */
static int obey_meanwhile(struct call *call)
{
	char text[256], word[8];
	unsigned serial, number = 0;
	ssize_t size = recv(ours.channel, text, sizeof text - 1, 0);

	if (size <= 0)
		return -1;
	text[size] = 0;
	if (sscanf(text, "%7s %u %u", word, &serial, &number) < 2 || serial != ours.worker->serial)
		return 1;
	if (strcmp(word, "stop") == 0 && number == call->asked->number)
		ask_to_stop(call, STOPPED);
	return strcmp(word, "kill") != 0;
}

static int milliseconds_until(double moment)
{
	double seconds = moment - now();

	return seconds <= 0 ? 0 : seconds > 1e6 ? 1000000000 : (int)(seconds * 1000) + 1;
}

static int next_wake(const struct call *call)
{
	int due = milliseconds_until(call->stop_at > 0 ? call->stop_at : call->kill_at);
	int telling = ours.told_bytes > 8 ? milliseconds_until(ours.told_at + TELL_SECONDS) : due;

	return telling < due ? telling : due;
}

/* Whether a worker that runs calls itself says that one is over. It may have closed its end instead: then it ends, or will be stopped. */
static int is_told_over(void)
{
	char word[8];

	return recv(ours.worker->report, word, sizeof word, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Until the call has ended or must. 1, or what obey_meanwhile says; `is_over`: it ended by itself. */
static int follow_call(struct call *call, int *is_over)
{
	struct pollfd waits[] = {{call->done, POLLIN, 0}, {ours.channel, POLLIN, 0}, {streams[0].end, POLLIN, 0},
				 {streams[1].end, POLLIN, 0}, {ours.reuse ? ours.worker->pidfd : -1, POLLIN, 0}};
	int answer = 1;

	*is_over = 0;
	for (;;) {
		poll(waits, 5, next_wake(call));
		for (int i = 0; i < 2; i++) {
			if (waits[i + 2].revents & POLLIN)
				read_stream(&streams[i]);
			else if (waits[i + 2].revents)
				waits[i + 2].fd = -1; /* closed by the call */
		}
		if (ours.reuse && waits[0].revents && !is_told_over())
			waits[0].fd = -1, waits[0].revents = 0;
		if (waits[0].revents || waits[4].revents) {
			*is_over = 1;
			return 1;
		}
		if (waits[1].revents && (answer = obey_meanwhile(call)) <= 0)
			return answer;
		if (ours.told_bytes > 8 && now() >= ours.told_at + TELL_SECONDS && tell() < 0)
			return -1;
		if (streams[0].total + streams[1].total > ours.log_most) {
			call->reason = LOG_LIMIT;
			return 1;
		}
		if (call->stop_at > 0 && now() >= call->stop_at)
			ask_to_stop(call, TIMEOUT);
		if (call->kill_at > 0 && now() >= call->kill_at)
			return 1;
	}
}

static double seconds_of(const struct rusage *used)
{
	return (double)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) + (double)(used->ru_utime.tv_usec + used->ru_stime.tv_usec) / 1e6;
}

/* Kill a call that has not ended, and reap it: 0, or -1 where that does not come about in time, and it dies with the worker. */
static int reap(const struct call *call, int is_over, int *status, struct rusage *used)
{
	struct pollfd waits = {call->done, POLLIN, 0};

	if (!is_over) {
		kill(call->pid, SIGKILL);
		if (ask('C') < 0 || poll(&waits, 1, ANSWER_MS) < 1)
			return -1;
	}
	return wait4(call->pid, status, WNOHANG | __WALL, used) == call->pid ? 0 : -1;
}

/* How a fork ended, and that nothing of it lives. 0, or -1 where the worker cannot go on. */
static int end_of_fork(struct call *call, int is_over, struct end *end)
{
	struct rusage used;
	int status, answer = reap(call, is_over, &status, &used);

	close(call->done);
	if (answer < 0) {
		end->code = -SIGKILL;
		return -1;
	}
	end->code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
	end->cpu_seconds = seconds_of(&used);
	end->peak_bytes = (uint64_t)used.ru_maxrss * 1024;
	return clean();
}

/* How a call of a worker that runs them itself ended. 0, or -1 where it was the last. */
static int end_of_reused(const struct call *call, int is_over, struct end *end)
{
	siginfo_t seen = {0};
	char word[8];

	end->cpu_seconds = cpu_of(call->pid) - ours.cpu_before;
	end->peak_bytes = (uint64_t)peak_of(call->pid);
	if (is_over && recv(ours.worker->report, word, sizeof word, MSG_DONTWAIT) > 0)
		return call->kill_at > 0 ? -1 : 0;
	if (!is_over)
		kill(call->pid, SIGKILL);
	waitid(P_PID, (id_t)call->pid, &seen, WEXITED | WNOWAIT);
	end->code = seen.si_code == CLD_EXITED ? seen.si_status : -seen.si_status;
	return -1;
}

/* What it left, where that is a small result or why it failed, and nothing else. 0, or -1 where somebody must look at the folder. */
static int take_result(struct end *end, char *text)
{
	struct statvfs seen;
	ssize_t size;

	if (end->code != 0 && fstatvfs(ours.worker->top, &seen) == 0) {
		end->flags |= seen.f_bavail * seen.f_frsize < LOW_BYTES ? DISK_IS_FULL : 0;
		end->flags |= seen.f_favail == 0 ? NO_MORE_FILES : 0;
	}
	if (open_shared_outputs(ours.worker->top) != 0)
		return -1;
	size = read_told(ours.worker->top, end->code == 0 ? "out/data.json" : "out/_runner_error.json", text, PIECE);
	if (size < 0 && end->code == 0)
		return -1;
	end->result_bytes = size < 0 ? 0 : (uint32_t)size;
	end->flags |= IS_ALL | (end->code != 0 && size >= 0 ? IS_ERROR : 0);
	return 0;
}

/* One call. 1: the next may come; 0: the worker must end; -1: nobody is there any more. */
static int run_call(const struct asked *asked, const char *text)
{
	struct call call = {.asked = asked};
	struct end end = {.number = asked->number};
	char *place;
	int is_over, goes_on, answer;

	if (begin(&call, text) < 0)
		return 0; /* it has not begun, and is not told of */
	if ((answer = follow_call(&call, &is_over)) < 0)
		return -1;
	if (answer == 0 && !is_over)
		call.reason = STOPPED;
	place = told + ours.told_bytes;
	goes_on = (ours.reuse ? end_of_reused(&call, is_over, &end) : end_of_fork(&call, is_over, &end)) == 0;
	end.wall_seconds = now() - call.started_at;
	for (int i = 0; i < 2; i++)
		read_stream(&streams[i]);
	end.reason = (uint32_t)call.reason;
	end.log_bytes = streams[0].total + streams[1].total;
	end.out_bytes = streams[0].kept;
	end.err_bytes = streams[1].kept;
	if (goes_on && (take_result(&end, place + sizeof end) < 0 || !network_is_untouched()))
		goes_on = 0;
	if (goes_on && empty_shared_workspace(ours.worker->top) < 0)
		goes_on = 0;
	memcpy(place, &end, sizeof end);
	memcpy(place + sizeof end + end.result_bytes, streams[0].text, end.out_bytes);
	memcpy(place + sizeof end + end.result_bytes + end.out_bytes, streams[1].text, end.err_bytes);
	ours.told_bytes += sizeof end + end.result_bytes + end.out_bytes + end.err_bytes;
	if (!ours.reuse)
		close_streams();
	if (ours.told_bytes + sizeof end + 3 * PIECE > ROOM && tell() < 0)
		return -1;
	return goes_on && answer;
}

/* Each call of a batch, as long as the worker goes on; their ends. As run_call. */
static int run_batch(size_t size)
{
	const struct batch *batch = (const void *)received;
	const struct asked *asked = (const void *)(received + sizeof *batch);
	size_t at = sizeof *batch + (size_t)batch->count * sizeof *asked;
	int answer = 1;

	ours.told_at = now();
	for (uint32_t i = 0; answer > 0 && i < batch->count; i++) {
		if (at > size || asked[i].bytes > size - at)
			return 0;
		answer = run_call(&asked[i], received + at);
		at += asked[i].bytes;
	}
	return tell() < 0 ? -1 : answer;
}

/* Until the worker has loaded its module and all is as calls shall find it. 0, or -1 where that is not so. */
static int wait_until_loaded(double seconds)
{
	struct pollfd waits[] = {{ours.worker->report, POLLIN, 0}, {ours.worker->pidfd, POLLIN, 0}, {ours.channel, POLLIN, 0}};
	double until = now() + seconds;
	char word[16];

	if (!ours.reuse && (poll(waits, 3, ANSWER_MS) < 1 || !waits[0].revents || (ours.space = hear_space(ours.worker->report)) < 0))
		return -1;
	if (poll(waits, 3, milliseconds_until(until)) < 1 || !waits[0].revents || recv(ours.worker->report, word, sizeof word, 0) != 6)
		return -1;
	if (!ours.reuse && (clean() < 0 || ask('P') != 0))
		return -1;
	return empty_shared_workspace(ours.worker->top);
}

/* Serve calls that share the worker: `share SERIAL LOAD_SECONDS LOG_BYTES REUSE`. Gives HAS_ENDED or NOBODY_LISTENS. */
int serve_calls(int channel, const struct worker *worker, const char *text)
{
	int yes = 1, answer = 0;
	unsigned serial;
	double seconds;
	ssize_t size;

	ours = (struct shared){.channel = channel, .space = -1, .worker = worker, .told_bytes = 8};
	memcpy(told, "ends\0\0\0", 8);
	streams[0].end = streams[1].end = -1;
	if (sscanf(text, "share %u %lf %lu %d", &serial, &seconds, &ours.log_most, &ours.reuse) != 4 || serial != worker->serial)
		return HAS_ENDED;
	setsockopt(worker->report, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes);
	if (wait_until_loaded(seconds) == 0)
		answer = send(channel, "shared", 6, MSG_NOSIGNAL) < 0 ? -1 : 1;
	while (answer > 0) {
		struct pollfd waits[] = {{channel, POLLIN, 0}, {worker->pidfd, POLLIN, 0}};

		poll(waits, 2, -1);
		if (waits[1].revents)
			break;
		size = recv(channel, received, sizeof received, 0);
		answer = size <= 0 ? -1 : size >= (ssize_t)sizeof(struct batch) && memcmp(received, "batch", 6) == 0 ? run_batch((size_t)size) : 0;
	}
	close_streams();
	if (ours.space >= 0)
		close(ours.space);
	explicit_bzero(received, sizeof received);
	explicit_bzero(told, sizeof told);
	explicit_bzero(streams, sizeof streams);
	return answer < 0 ? NOBODY_LISTENS : HAS_ENDED;
}
