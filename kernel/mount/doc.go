// Package mount is the kernel room's part for mounts: overlays, bind mounts, and
// what is mounted where. It uses the standard library and golang.org/x/sys alone,
// because the engine's monitor uses it too.
package mount

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Overlay is an overlay filesystem. Lower lists the read-only directories, the
// uppermost first; without Upper the whole is read-only.
type Overlay struct {
	Lower       []string
	Upper, Work string
	// Volatile leaves out all syncs of the upper directory.
	Volatile bool
}

// Mount mounts it at target. One lower directory without an upper one is bound
// read-only, since overlayfs wants two.
func (o Overlay) Mount(target string) error {
	if o.Upper == "" && len(o.Lower) == 1 {
		return BindReadOnly(o.Lower[0], target)
	}
	if len(o.Lower) == 0 {
		if o.Upper == "" {
			return errors.New("mount: overlay without directories")
		}
		return Bind(o.Upper, target)
	}
	opts := "index=off"
	if o.Volatile {
		opts += ",volatile"
	}
	if o.Upper != "" {
		opts += ",upperdir=" + escape(o.Upper) + ",workdir=" + escape(o.Work)
	}
	opts += ",lowerdir="
	for i, l := range o.Lower {
		if i > 0 {
			opts += ":"
		}
		opts += escape(l)
	}
	if len(opts) >= os.Getpagesize() {
		return o.mountLong(target)
	}
	if err := unix.Mount("overlay", target, "overlay", 0, opts); err != nil {
		return fmt.Errorf("mount overlay at %s: %w", target, err)
	}
	return nil
}

// escape protects what separates options and directories.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(s)
}

// mountLong passes the directories one by one (Linux 6.7 and later): mount(2)
// takes no more than a page of options.
func (o Overlay) mountLong(target string) error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen overlay: %w", err)
	}
	defer unix.Close(fd)
	set := func(key, value string) {
		if err == nil {
			if err = unix.FsconfigSetString(fd, key, value); err != nil {
				err = fmt.Errorf("overlay %s=%s: %w", key, value, err)
			}
		}
	}
	set("index", "off")
	for _, l := range o.Lower {
		set("lowerdir+", l)
	}
	if o.Upper != "" {
		set("upperdir", o.Upper)
		set("workdir", o.Work)
	}
	if err == nil && o.Volatile {
		err = unix.FsconfigSetFlag(fd, "volatile")
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err != nil {
		return err
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fsmount overlay: %w", err)
	}
	defer unix.Close(m)
	if err := unix.MoveMount(m, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount overlay at %s: %w", target, err)
	}
	return nil
}

// Bind makes source appear at target.
func Bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s at %s: %w", source, target, err)
	}
	return nil
}

// BindReadOnly makes source appear at target, not to be written through it.
func BindReadOnly(source, target string) error {
	if err := Bind(source, target); err != nil {
		return err
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(fmt.Errorf("make %s read-only: %w", target, err), unix.Unmount(target, unix.MNT_DETACH))
	}
	return nil
}

// PrivateDir binds dir on itself and cuts it off from propagation, so that mounts
// made in it do not reach other mount namespaces. Doing it again changes nothing.
func PrivateDir(dir string) error {
	is, err := IsMount(dir)
	if err != nil {
		return err
	}
	if !is {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s on itself: %w", dir, err)
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make %s private: %w", dir, err)
	}
	return nil
}

// IsMount tells whether something is mounted at dir itself, whose path has no
// symbolic links. It asks for dir alone where the kernel can tell (Linux 5.8 and
// later): the list of all mounts grows with the pods.
func IsMount(dir string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0:
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	all, err := Below(dir)
	return slices.Contains(all, dir), err
}

// Below lists the mount points at and below dir in this mount namespace, in the
// order in which they were mounted.
func Below(dir string) ([]string, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return below(f, dir)
}

func below(r io.Reader, dir string) ([]string, error) {
	var out []string
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if p := mountPoint(in.Text()); p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") {
			out = append(out, p)
		}
	}
	return out, in.Err()
}

// mountPoint is the fifth field of a line of mountinfo, in which blanks and
// backslashes are written as octal (proc_pid_mountinfo(5)).
func mountPoint(line string) string {
	f := strings.Fields(line)
	if len(f) < 5 {
		return ""
	}
	p := f[4]
	if !strings.Contains(p, `\`) {
		return p
	}
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '\\' && i+3 < len(p) {
			if n, err := strconv.ParseUint(p[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// UnmountBelow takes away all mounts at and below dir, the last first.
func UnmountBelow(dir string) error {
	all, err := Below(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range slices.Backward(all) {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}
