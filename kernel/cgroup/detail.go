package cgroup

import (
	"os"
	"strconv"
	"strings"
)

// Detail is what a group counts beyond Stats.
type Detail struct {
	UserNanos, SystemNanos uint64
	PerCPU                 []uint64 // nanoseconds of each processor; version 1 alone
	Periods, Throttled     uint64
	ThrottledNanos         uint64
	MemoryMax              uint64 // the most that was used
	MemoryFailures         uint64 // how often the limit was hit
	MemoryStat             map[string]uint64
	PidsLimit              uint64 // 0 where there is none
	// IO is what block devices did: bytes and operations by device and direction.
	IO []DeviceIO
}

// DeviceIO is one device's work in one direction, "Read" or "Write".
type DeviceIO struct {
	Major, Minor      uint64
	Op                string
	Bytes, Operations uint64
}

// userHertz is the unit of version 1's cpuacct.stat.
const userHertz = 100

// Detail implements Tree.
func (t *V1) Detail(p string) (Detail, error) {
	var d Detail
	mem := t.dir("memory", p)
	if _, err := os.Stat(mem); err != nil {
		return d, err
	}
	acct := t.dir("cpuacct", p)
	ticks := readKeys(acct + "/cpuacct.stat")
	d.UserNanos, d.SystemNanos = ticks["user"]*(1e9/userHertz), ticks["system"]*(1e9/userHertz)
	per, _ := readString(acct + "/cpuacct.usage_percpu")
	for _, f := range strings.Fields(per) {
		n, _ := strconv.ParseUint(f, 10, 64)
		d.PerCPU = append(d.PerCPU, n)
	}
	cpu := readKeys(t.dir("cpu", p) + "/cpu.stat")
	d.Periods, d.Throttled, d.ThrottledNanos = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_time"]
	d.MemoryMax = readNumber(mem + "/memory.max_usage_in_bytes")
	d.MemoryFailures = readNumber(mem + "/memory.failcnt")
	d.MemoryStat = readKeys(mem + "/memory.stat")
	d.PidsLimit = readNumber(t.dir("pids", p) + "/pids.max")
	if blk := t.dir("blkio", p); blk != "" {
		bytes, _ := os.ReadFile(blk + "/blkio.throttle.io_service_bytes_recursive")
		ops, _ := os.ReadFile(blk + "/blkio.throttle.io_serviced_recursive")
		d.IO = parseDevices(string(bytes), string(ops))
	}
	return d, nil
}

// parseDevices joins lines of "8:0 Read 4096" of both files.
func parseDevices(bytes, ops string) []DeviceIO {
	var out []DeviceIO
	at := map[string]int{}
	for i, text := range []string{bytes, ops} {
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			if len(f) != 3 || (f[1] != "Read" && f[1] != "Write") {
				continue
			}
			key := f[0] + f[1]
			n, known := at[key]
			if !known {
				n = len(out)
				at[key] = n
				io := DeviceIO{Op: f[1]}
				io.Major, io.Minor = parseDevice(f[0])
				out = append(out, io)
			}
			v, _ := strconv.ParseUint(f[2], 10, 64)
			if i == 0 {
				out[n].Bytes = v
			} else {
				out[n].Operations = v
			}
		}
	}
	return out
}

func parseDevice(s string) (major, minor uint64) {
	a, b, _ := strings.Cut(s, ":")
	major, _ = strconv.ParseUint(a, 10, 64)
	minor, _ = strconv.ParseUint(b, 10, 64)
	return major, minor
}

// Detail implements Tree.
func (t *V2) Detail(p string) (Detail, error) {
	var d Detail
	dir := t.dir(p)
	if _, err := os.Stat(dir); err != nil {
		return d, err
	}
	cpu := readKeys(dir + "/cpu.stat")
	d.UserNanos, d.SystemNanos = cpu["user_usec"]*1000, cpu["system_usec"]*1000
	d.Periods, d.Throttled, d.ThrottledNanos = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_usec"]*1000
	d.MemoryMax = readNumber(dir + "/memory.peak")
	d.MemoryFailures = readKeys(dir + "/memory.events")["max"]
	d.MemoryStat = readKeys(dir + "/memory.stat")
	d.PidsLimit = readNumber(dir + "/pids.max")
	io, _ := os.ReadFile(dir + "/io.stat")
	for line := range strings.Lines(string(io)) {
		d.IO = append(d.IO, parseIODevice(line)...)
	}
	return d, nil
}

// parseIODevice reads "8:0 rbytes=1 wbytes=2 rios=3 wios=4".
func parseIODevice(line string) []DeviceIO {
	f := strings.Fields(line)
	if len(f) < 2 {
		return nil
	}
	r, w := DeviceIO{Op: "Read"}, DeviceIO{Op: "Write"}
	r.Major, r.Minor = parseDevice(f[0])
	w.Major, w.Minor = r.Major, r.Minor
	for _, kv := range f[1:] {
		k, v, _ := strings.Cut(kv, "=")
		n, _ := strconv.ParseUint(v, 10, 64)
		switch k {
		case "rbytes":
			r.Bytes = n
		case "wbytes":
			w.Bytes = n
		case "rios":
			r.Operations = n
		case "wios":
			w.Operations = n
		}
	}
	return []DeviceIO{r, w}
}

// Detail implements Tree; the fake counts nothing more.
func (f *Fake) Detail(p string) (Detail, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.get(p)
	return Detail{}, err
}
