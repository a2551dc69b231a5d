package vm

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guestInit is the first program on the virtual machine's disk. The kernel loads
// its modules by itself, through /sbin/modprobe, as Debian's does.
const guestInit = `#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs run /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
hostname guest
ip link set lo up
ip link add uplink type dummy
ip addr add 192.0.2.2/24 dev uplink
ip link set uplink up
ip route add default via 192.0.2.1
cd /test/platform
HOME=/root SKIFF=/bin/skiff STANDIN=/bin/standin /bin/platform.test -test.v -test.run "$(cat /run.txt)" >/dev/ttyS1 2>&1
echo "guest: exit $?" >/dev/ttyS1
poweroff -f
`

// ramInit finds the disk and goes on there.
const ramInit = `#!/bin/busybox sh
for m in %s; do /bin/busybox insmod /modules/$m || exec /bin/busybox poweroff -f; done
/bin/busybox mount -t devtmpfs dev /dev
until [ -e /dev/vda ]; do /bin/busybox usleep 10000; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /disk
/bin/busybox mount --move /dev /disk/dev
exec /bin/busybox switch_root /disk /init
`

// diskModules are those that the disk needs, and what they need, in order.
var diskModules = []string{"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"}

// tree is a directory that becomes a file system.
type tree struct {
	t   *testing.T
	dir string
}

func (r tree) write(path, content string, mode fs.FileMode) {
	r.t.Helper()
	to := filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(content), mode); err != nil {
		r.t.Fatal(err)
	}
}

// copy puts a file of the machine at path.
func (r tree) copy(path, from string) {
	r.t.Helper()
	in, err := os.Open(from)
	if err != nil {
		r.t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(path, "", info.Mode().Perm())
	out, err := os.OpenFile(filepath.Join(r.dir, path), os.O_WRONLY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		r.t.Fatal(err)
	}
}

// program puts a program of the machine at path, with the libraries that it asks
// for where it asks for them.
func (r tree) program(path, name string) {
	r.t.Helper()
	from, err := exec.LookPath(name)
	if err != nil {
		r.t.Skipf("needs %s: make test-vm", name)
	}
	r.copy(path, from)
	libraries, err := exec.Command("ldd", from).Output()
	if err != nil {
		return // it is static
	}
	for _, f := range regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1) {
		if _, err := os.Stat(filepath.Join(r.dir, f)); err != nil {
			r.copy(f, f)
		}
	}
}

func (r tree) mkdir(paths ...string) {
	r.t.Helper()
	for _, p := range paths {
		if err := os.MkdirAll(filepath.Join(r.dir, p), 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
}

// busybox puts it and its applets in place.
func (r tree) busybox() {
	r.t.Helper()
	r.program("bin/busybox", "busybox")
	list, err := exec.Command("busybox", "--list").Output()
	if err != nil {
		r.t.Fatal(err)
	}
	applets := strings.Fields(string(list))
	r.mkdir("sbin")
	for _, a := range append(applets, "../sbin/modprobe") {
		if a == "busybox" {
			continue
		}
		if err := os.Symlink("/bin/busybox", filepath.Join(r.dir, "bin", a)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// disk makes the image that the guest runs from.
func disk(t *testing.T, dir, kernel, run string) string {
	r := tree{t, filepath.Join(dir, "disk")}
	r.busybox()
	r.write("init", guestInit, 0o755)
	r.write("run.txt", run, 0o644)
	r.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	r.write("etc/group", "root:x:0:\n", 0o644)
	r.write("etc/hosts", "127.0.0.1 localhost\n", 0o644)
	r.mkdir("proc", "sys", "dev", "run", "root", "var/lib")
	r.mkdir("tmp")
	r.program("bin/crun", "crun")
	r.program("bin/runc", "runc")
	skiff := os.Getenv("SKIFF")
	if skiff == "" {
		skiff = "../../bin/skiff"
	}
	r.copy("bin/skiff", skiff)
	for _, b := range [][]string{{"build", "../platform/image", "bin/standin"}, {"test", "../platform", "bin/platform.test"}} {
		args := []string{b[0], "-ldflags", "-s -w", "-o", filepath.Join(r.dir, b[2])}
		if b[0] == "test" {
			args = append(args, "-c", "-tags", "guest")
		}
		build := exec.Command("go", append(args, b[1])...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", b[1], err, out)
		}
	}
	if err := os.CopyFS(filepath.Join(r.dir, "test/platform/testdata"), os.DirFS("../platform/testdata")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(r.dir, "lib/modules"), os.DirFS(filepath.Join(kernel, "lib/modules"))); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "disk.img")
	mkfs := exec.Command("mkfs.ext4", "-q", "-d", r.dir, "-E", "root_owner=0:0", image, "2G")
	mkfs.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/sbin:/usr/sbin")
	if out, err := mkfs.CombinedOutput(); err != nil {
		t.Fatalf("make the disk: %v\n%s", err, out)
	}
	return image
}

// ramdisk makes the archive from which the guest begins.
func ramdisk(t *testing.T, dir, kernel string) string {
	r := tree{t, filepath.Join(dir, "ram")}
	r.program("bin/busybox", "busybox")
	r.mkdir("dev", "disk", "modules")
	var names []string
	err := filepath.WalkDir(filepath.Join(kernel, "lib/modules"), func(path string, d fs.DirEntry, err error) error {
		name, ok := strings.CutSuffix(filepath.Base(path), ".ko")
		if err == nil && ok && slices.Contains(diskModules, name) {
			r.copy("modules/"+name+".ko", path)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(names, func(a, b string) int { return slices.Index(diskModules, a) - slices.Index(diskModules, b) })
	for i := range names {
		names[i] += ".ko"
	}
	r.write("init", fmt.Sprintf(ramInit, strings.Join(names, " ")), 0o755)
	archive := filepath.Join(dir, "ram.cpio")
	out, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var list bytes.Buffer
	err = filepath.WalkDir(r.dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			var rel string
			rel, err = filepath.Rel(r.dir, path)
			fmt.Fprintln(&list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cpio := exec.Command("busybox", "cpio", "-o", "-H", "newc")
	cpio.Dir, cpio.Stdin, cpio.Stdout = r.dir, &list, out
	if err := cpio.Run(); err != nil {
		t.Fatal(err)
	}
	return archive
}
