package containers

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"skiff.dev/skiff/engine/dockerapi/route"
)

const (
	minMemory = 6 << 20
	// maxInSet is the highest number a set of processors or memory nodes may name.
	maxInSet = 8192
)

// realtime tells whether this kernel has groups of real-time scheduling.
var realtime = sync.OnceValue(func() bool {
	_, err := os.Stat("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
	return err == nil
})

// checkResources checks limits; of an update what is zero is not to be changed.
func checkResources(r *container.Resources, update bool) (warnings []string, err error) {
	if r.MemorySwappiness != nil && *r.MemorySwappiness == -1 {
		r.MemorySwappiness = nil // as if it were not given
	}
	if err := checkMemory(r, update); err != nil {
		return nil, err
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && r.Memory == 0 {
		warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	if err := checkProcessors(r); err != nil {
		return nil, err
	}
	if r.CPUPercent > 0 {
		warnings = append(warnings, "linux does not support CPU percent. Percent discarded.")
		r.CPUPercent = 0
	}
	if err := checkSets(r); err != nil {
		return nil, err
	}
	warnings = append(warnings, dropUnsupported(r, kernelHas)...)
	switch {
	case r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000):
		return nil, route.Invalidf("Range of blkio weight is from 10 to 1000")
	case r.IOMaximumBandwidth != 0 || r.IOMaximumIOps != 0:
		return nil, route.Invalidf("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps")
	}
	return warnings, nil
}

// kernelHas tells whether the block controller has a file; with version 2 of control
// groups it has what there is.
func kernelHas(file string) bool {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return true
	}
	_, err := os.Stat("/sys/fs/cgroup/blkio/" + file)
	return err == nil
}

// dropUnsupported leaves out the limits of block devices that this kernel has not.
func dropUnsupported(r *container.Resources, has func(file string) bool) (warnings []string) {
	const preamble, or = "Your kernel does not support ", " or the cgroup is not mounted. "
	if r.BlkioWeight > 0 && !has("blkio.weight") {
		warnings = append(warnings, preamble+"Block I/O weight"+or+"Weight discarded.")
		r.BlkioWeight = 0
	}
	if len(r.BlkioWeightDevice) > 0 && !has("blkio.weight_device") {
		warnings = append(warnings, preamble+"Block I/O weight_device"+or+"Weight-device discarded.")
		r.BlkioWeightDevice = []*blkiodev.WeightDevice{}
	}
	for _, t := range []struct {
		list             *[]*blkiodev.ThrottleDevice
		file, what, lost string
	}{
		{&r.BlkioDeviceReadBps, "blkio.throttle.read_bps_device", "BPS Block I/O read limit", "Block I/O BPS read limit discarded."},
		{&r.BlkioDeviceWriteBps, "blkio.throttle.write_bps_device", "BPS Block I/O write limit", "Block I/O BPS write limit discarded."},
		{&r.BlkioDeviceReadIOps, "blkio.throttle.read_iops_device", "IOPS Block read limit", "Block I/O IOPS read limit discarded."},
		{&r.BlkioDeviceWriteIOps, "blkio.throttle.write_iops_device", "IOPS Block write limit", "Block I/O IOPS write limit discarded."},
	} {
		if len(*t.list) > 0 && !has(t.file) {
			warnings = append(warnings, preamble+t.what+or+t.lost)
			*t.list = []*blkiodev.ThrottleDevice{}
		}
	}
	return warnings
}

func checkMemory(r *container.Resources, update bool) error {
	switch {
	case r.Memory != 0 && r.Memory < minMemory:
		return route.Invalidf("Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return route.Invalidf("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0 && !update:
		return route.Invalidf("You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < 0 || *r.MemorySwappiness > 100):
		return route.Invalidf("Invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation > 0 && r.MemoryReservation < minMemory:
		return route.Invalidf("Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation:
		return route.Invalidf("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	return nil
}

func checkProcessors(r *container.Resources) error {
	cpus := runtime.NumCPU()
	switch {
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return route.Invalidf("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return route.Invalidf("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(cpus)*1e9:
		return route.Invalidf("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1e6):
		return route.Invalidf("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return route.Invalidf("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	}
	return nil
}

func checkSets(r *container.Resources) error {
	for _, s := range []struct{ name, what, want, path, fallback string }{
		{"cpuset cpus", "CPUs", r.CpusetCpus, "/sys/devices/system/cpu/online", fmt.Sprintf("0-%d", runtime.NumCPU()-1)},
		{"cpuset mems", "memory nodes", r.CpusetMems, "/sys/devices/system/node/online", "0"},
	} {
		if s.want == "" {
			continue
		}
		available := s.fallback
		if b, err := os.ReadFile(s.path); err == nil {
			available = strings.TrimSpace(string(b))
		}
		have, err := parseSet(available)
		if err != nil {
			return err
		}
		want, err := parseSet(s.want)
		if err != nil {
			return route.Invalid(fmt.Errorf("Invalid value %s for %s: %w", s.want, s.name, err)) //nolint:staticcheck // Docker's words
		}
		for n := range want {
			if !have[n] {
				return route.Invalidf("Requested %s are not available - requested %s, available: %s", s.what, s.want, available)
			}
		}
	}
	return nil
}

// parseSet reads a list of processors or memory nodes such as "0-2,4".
func parseSet(s string) (map[int]bool, error) {
	out := map[int]bool{}
	for _, part := range strings.Split(s, ",") {
		a, b, ranged := strings.Cut(part, "-")
		if !ranged {
			b = a
		}
		from, err := strconv.Atoi(a)
		to, err2 := strconv.Atoi(b)
		if err != nil || err2 != nil || to < from {
			return nil, fmt.Errorf("invalid format: %s", s)
		}
		if to > maxInSet {
			return nil, fmt.Errorf("value of out range, maximum is %d", maxInSet)
		}
		for n := from; n <= to; n++ {
			out[n] = true
		}
	}
	return out, nil
}
