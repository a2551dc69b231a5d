package vm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The tests of test/platform that run in the virtual machine: what depends on the
// kernel's modules and on control groups; with the help of hardware, without which a
// guest is some ten times slower, also a walk through the rest.
const (
	guestTests     = `^(TestMissingModules|TestControlGroups)$`
	fastGuestTests = `^(TestMissingModules|TestControlGroups|TestCrashLeavesContainersServing|TestMonitorCrash|TestReset|TestScripts)$`
)

// patience bounds a run.
const patience = 20 * time.Minute

// TestControlGroupsVersion2 runs whole-platform tests where control groups are
// version 2 alone. Each of them is shown as one of this test's.
func TestControlGroupsVersion2(t *testing.T) {
	kernel := os.Getenv("SKIFF_VM_KERNEL")
	if kernel == "" {
		t.Skip("needs a kernel to boot: make test-vm")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86: make test-vm")
	}
	images, err := filepath.Glob(filepath.Join(kernel, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("kernels in %s: %q %v", kernel, images, err)
	}
	accel, run := []string{"-accel", "tcg,thread=multi", "-cpu", "max"}, guestTests
	if hardware(t) {
		accel, run = []string{"-accel", "kvm", "-cpu", "host"}, fastGuestTests
	} else {
		t.Log("no help of hardware for virtual machines: this takes longer")
	}
	if r := os.Getenv("SKIFF_VM_RUN"); r != "" {
		run = r
	}
	dir := t.TempDir()
	console := filepath.Join(dir, "console")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-smp", "2", "-m", "2048", "-nodefaults", "-display", "none", "-no-reboot",
		"-kernel", images[0], "-initrd", ramdisk(t, dir, kernel), "-append", "console=ttyS0 panic=-1 quiet no_timer_check", // its check fails on a host that is busy

		"-drive", "if=virtio,format=raw,cache=unsafe,file="+disk(t, dir, kernel, run),
		"-serial", "file:"+console, "-serial", "stdio")
	qemu.Args = append(qemu.Args, accel...)
	var out bytes.Buffer
	qemu.Stdout, qemu.Stderr = &out, &out
	err = qemu.Run()
	said := strings.ReplaceAll(out.String(), "\r", "")
	if err != nil || !strings.Contains(said, "guest: exit 0\n") {
		kernelSaid, _ := os.ReadFile(console)
		t.Errorf("the guest: %v\n%s\nits console:\n%s", err, said, kernelSaid[max(0, len(kernelSaid)-4000):])
	}
	results := regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+) `).FindAllStringSubmatch(said, -1)
	if len(results) == 0 {
		t.Error("no test ran")
	}
	for _, r := range results {
		t.Run(r[2], func(t *testing.T) {
			if r[1] != "PASS" {
				t.Error("in the guest:", r[1])
			}
		})
	}
}

// hardware tells whether it helps virtual machines here: not every /dev/kvm has it
// behind.
func hardware(t *testing.T) bool {
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	dev.Close()
	return regexp.MustCompile(`(?m)^flags\s*:.* (vmx|svm)( |$)`).Match(cpus)
}
