/* The steps of a warm call that are too many for Python: the first process of its namespace, its mounts, its last locks.
 *
 * Built into _guest.so, which guest/native.py loads; guest/fallback.py does the same in Python, slower. Every function returns 0 or a
 * descriptor, or minus the error number; `mecapy_step` then names the step that failed. Nothing here reads what a tenant wrote.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define VISIBLE __attribute__((visibility("default")))
#define KERNEL_SIGSET_BYTES 8
#define SIGNAL_BIT(number) (1UL << ((number) - 1))
#define MOUNT_FLAGS (MS_NOSUID | MS_NODEV)

VISIBLE const char *mecapy_step = "";

#define TRY(step, call)              \
	do {                         \
		mecapy_step = step;  \
		if ((call) < 0)      \
			return -errno; \
	} while (0)

/* PID 1 of a call: passes SIGTERM on to all, reaps what loses its parent, ends by SIGKILL alone. System calls only: it shares the
 * memory of a Python process, copied on write, whose locks may be held. */
static void be_the_first_process(void)
{
	unsigned long everything = ~0UL, awaited = SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGTERM);

	syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &everything, NULL, KERNEL_SIGSET_BYTES);
	syscall(SYS_close_range, 0U, ~0U, 0U);
	for (;;) {
		long number = syscall(SYS_rt_sigtimedwait, &awaited, NULL, NULL, KERNEL_SIGSET_BYTES);

		if (number == SIGTERM)
			syscall(SYS_kill, -1, SIGTERM);
		while (syscall(SYS_wait4, -1, NULL, WNOHANG | __WALL, NULL) > 0)
			;
	}
}

/* Make a PID namespace for the children of this process from now on, with its first process. Gives the pid of that, and a descriptor
 * of it in *pidfd. The caller forks the worker next, then calls mecapy_return_to. */
VISIBLE int mecapy_begin(int *pidfd)
{
	long pid;

	TRY("unshare(pid)", unshare(CLONE_NEWPID));
	mecapy_step = "clone";
	pid = syscall(SYS_clone, (unsigned long)(CLONE_PIDFD | SIGCHLD), NULL, pidfd, NULL, 0UL);
	if (pid == 0)
		be_the_first_process();
	return pid < 0 ? -errno : (int)pid;
}

VISIBLE int mecapy_return_to(int pid_namespace)
{
	TRY("setns(pid)", setns(pid_namespace, CLONE_NEWPID));
	return 0;
}

static int set_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{kept, kept, 0}, {0, 0, 0}};

	return (int)syscall(SYS_capset, &header, data);
}

/* In a stem, once: a network of its own with its loopback up, then nothing left that could change it. */
VISIBLE int mecapy_become_stem(void)
{
	struct ifreq loopback = {.ifr_name = "lo"};
	int probe;

	TRY("parent death", prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
	TRY("unshare(net)", unshare(CLONE_NEWNET));
	TRY("socket", probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	TRY("loopback", ioctl(probe, SIOCGIFFLAGS, &loopback));
	loopback.ifr_flags |= IFF_UP;
	TRY("loopback", ioctl(probe, SIOCSIFFLAGS, &loopback));
	close(probe);
	TRY("capabilities(ambient)", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	TRY("capabilities(bounding)", prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0));
	TRY("capabilities(set)", set_capabilities(1U << CAP_SYS_ADMIN | 1U << CAP_SETPCAP));
	return 0;
}

static int show(const char *source, const char *target)
{
	return mount(source, target, NULL, MS_BIND, NULL);
}

/* In the worker, before its order: mounts and message queues of its own, a workspace of the given options. Gives a descriptor of the
 * workspace's top. */
VISIBLE int mecapy_enter(const char *workspace_options)
{
	static const char *const folders[] = {"/mnt/in", "/mnt/in/files", "/mnt/out", "/mnt/out/files", "/mnt/out/artifacts",
					      "/mnt/scratch", "/mnt/tmp", "/mnt/shm"};
	int top;

	TRY("unshare(mount, ipc)", unshare(CLONE_NEWNS | CLONE_NEWIPC));
	TRY("mount(workspace)", mount("tmpfs", "/mnt", "tmpfs", MOUNT_FLAGS, workspace_options));
	for (unsigned i = 0; i < sizeof folders / sizeof *folders; i++)
		TRY(folders[i], mkdir(folders[i], 0755));
	TRY("bind(out)", show("/mnt/out", "/workspace/out"));
	TRY("bind(scratch)", show("/mnt/scratch", "/workspace/scratch"));
	TRY("bind(tmp)", show("/mnt/tmp", "/tmp"));
	TRY("bind(shm)", show("/mnt/shm", "/dev/shm"));
	TRY("mount(proc)", mount("proc", "/proc", "proc", MOUNT_FLAGS | MS_NOEXEC, NULL));
	TRY("open(workspace)", top = open("/mnt", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	return top;
}

struct ruleset {
	uint64_t files, network, scopes;
};

struct __attribute__((packed)) rule {
	uint64_t access;
	int32_t folder;
};

static int allow(int ruleset, const char *path, uint64_t access)
{
	struct rule rule = {access, open(path, O_PATH | O_CLOEXEC)};
	int answer;

	if (rule.folder < 0)
		return -1;
	answer = (int)syscall(SYS_landlock_add_rule, ruleset, 1, &rule, 0);
	close(rule.folder);
	return answer;
}

/* `files`, `read`, `write`: sets of rights; `scopes` 0 for a kernel without them, `files` 0 for one without Landlock. */
static int restrict_files(uint64_t files, uint64_t read, uint64_t write, uint64_t scopes)
{
	static const char *const writable[] = {"/workspace/out", "/workspace/scratch", "/tmp", "/dev", "/proc"};
	struct ruleset wanted = {files, 0, scopes};
	int ruleset;

	if (files == 0)
		return 0;
	TRY("landlock(create)",
	    ruleset = (int)syscall(SYS_landlock_create_ruleset, &wanted, scopes ? sizeof wanted : sizeof wanted.files, 0));
	TRY("landlock(/)", allow(ruleset, "/", read));
	for (unsigned i = 0; i < sizeof writable / sizeof *writable; i++)
		TRY(writable[i], allow(ruleset, writable[i], write));
	TRY("landlock(restrict)", (int)syscall(SYS_landlock_restrict_self, ruleset, 0));
	close(ruleset);
	return 0;
}

static int drop_capabilities(void)
{
	TRY("capabilities(bounding)", prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0));
	TRY("capabilities(bounding)", prctl(PR_CAPBSET_DROP, CAP_SETPCAP, 0, 0, 0));
	TRY("capabilities(set)", set_capabilities(0));
	return 0;
}

/* In the worker, last: the size of its workspace, the code it runs, what it was given made read-only, and every lock. From here on no
 * capability is left and no mount can change. Descriptors from `first_closed` on are closed. */
VISIBLE int mecapy_seal(const char *workspace_options, const char *package, uint64_t files, uint64_t read, uint64_t write,
			uint64_t scopes, const void *filter, unsigned short instructions, unsigned first_closed)
{
	struct sock_fprog program = {instructions, (struct sock_filter *)(uintptr_t)filter};
	int answer;

	TRY("remount(workspace)", mount(NULL, "/mnt", NULL, MS_REMOUNT | MOUNT_FLAGS, workspace_options));
	TRY("bind(package)", show(package, "/package"));
	TRY("hide(packages)", umount2("/packages", MNT_DETACH));
	TRY("bind(in)", show("/mnt/in", "/workspace/in"));
	TRY("remount(in)", mount(NULL, "/workspace/in", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MOUNT_FLAGS, NULL));
	TRY("hide(workspace)", umount2("/mnt", MNT_DETACH));
	TRY("chdir", chdir("/workspace/scratch"));
	if ((answer = restrict_files(files, read, write, scopes)) < 0)
		return answer;
	if ((answer = drop_capabilities()) < 0)
		return answer;
	TRY("close_range", (int)syscall(SYS_close_range, first_closed, ~0U, 0U));
	TRY("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY("seccomp", (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
	return 0;
}
