package containers

import (
	"errors"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) update(w http.ResponseWriter, r *route.Request) error {
	var req container.UpdateConfig
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	adaptUpdate(r, &req)
	if err := container.ValidateRestartPolicy(req.RestartPolicy); err != nil {
		return route.Invalid(err)
	}
	warnings, err := checkResources(&req.Resources, true)
	if err != nil {
		return err
	}
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	v := a.view(c)
	fail := func(err error) error { return docker("Cannot update container %s: %w", v.ID, err) }
	if v.removing {
		return fail(errors.New("container is marked for removal and cannot be \"update\""))
	}
	next := *v.HostConfig
	if err := mergeUpdate(&next, &req); err != nil {
		return fail(err)
	}
	if v.running {
		if err := checkDevices(&req.Resources); err != nil {
			return fail(err)
		}
		limits := resources(&next.Resources)
		if p := req.PidsLimit; p != nil && *p == 0 {
			limits.Pids = -1 // the limit that there was goes
		}
		if err := a.o.Engine.Update(r.Context(), v.ID, limits); err != nil {
			return fail(route.Internal(err))
		}
	}
	if err := a.commit(c, func() { c.rec.HostConfig = &next }); err != nil {
		return err
	}
	a.publish(c, events.ActionUpdate)
	return route.WriteJSON(w, http.StatusOK, &container.UpdateResponse{Warnings: warnings})
}

// adaptUpdate leaves out what is younger than a client's version.
func adaptUpdate(r *route.Request, u *container.UpdateConfig) {
	if r.Before("1.40") {
		u.PidsLimit = nil
	}
	if r.Before("1.55") {
		u.BlkioWeightDevice = nil
		u.BlkioDeviceReadBps, u.BlkioDeviceWriteBps, u.BlkioDeviceReadIOps, u.BlkioDeviceWriteIOps = nil, nil, nil, nil
	}
	if u.PidsLimit != nil && *u.PidsLimit <= 0 {
		u.PidsLimit = new(int64) // any is "none"
	}
}

// mergeUpdate takes what an update names into the host configuration.
func mergeUpdate(h *container.HostConfig, u *container.UpdateConfig) error {
	switch {
	case u.NanoCPUs > 0 && h.CPUPeriod > 0:
		return route.Conflictf("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case u.NanoCPUs > 0 && h.CPUQuota > 0:
		return route.Conflictf("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case u.CPUPeriod > 0 && h.NanoCPUs > 0:
		return route.Conflictf("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case u.CPUQuota > 0 && h.NanoCPUs > 0:
		return route.Conflictf("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case u.Memory != 0 && u.Memory > h.MemorySwap && u.MemorySwap == 0:
		return route.Conflictf("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	case u.RestartPolicy.Name != "" && h.AutoRemove && !u.RestartPolicy.IsNone():
		return route.Conflictf("Restart policy cannot be updated because AutoRemove is enabled for the container")
	}
	for _, f := range []struct {
		to   *int64
		from int64
	}{
		{&h.CPUShares, u.CPUShares}, {&h.CPUPeriod, u.CPUPeriod}, {&h.CPUQuota, u.CPUQuota}, {&h.NanoCPUs, u.NanoCPUs},
		{&h.Memory, u.Memory}, {&h.MemorySwap, u.MemorySwap}, {&h.MemoryReservation, u.MemoryReservation},
		{&h.CPURealtimePeriod, u.CPURealtimePeriod}, {&h.CPURealtimeRuntime, u.CPURealtimeRuntime},
	} {
		if f.from != 0 {
			*f.to = f.from
		}
	}
	for _, f := range []struct {
		to   *[]*blkiodev.ThrottleDevice
		from []*blkiodev.ThrottleDevice
	}{
		{&h.BlkioDeviceReadBps, u.BlkioDeviceReadBps}, {&h.BlkioDeviceWriteBps, u.BlkioDeviceWriteBps},
		{&h.BlkioDeviceReadIOps, u.BlkioDeviceReadIOps}, {&h.BlkioDeviceWriteIOps, u.BlkioDeviceWriteIOps},
	} {
		if f.from != nil {
			*f.to = slices.Clone(f.from)
		}
	}
	if u.BlkioWeightDevice != nil {
		h.BlkioWeightDevice = u.BlkioWeightDevice
	}
	if u.BlkioWeight != 0 {
		h.BlkioWeight = u.BlkioWeight
	}
	if u.CpusetCpus != "" {
		h.CpusetCpus = u.CpusetCpus
	}
	if u.CpusetMems != "" {
		h.CpusetMems = u.CpusetMems
	}
	if u.PidsLimit != nil {
		h.PidsLimit = u.PidsLimit
	}
	if u.RestartPolicy.Name != "" {
		h.RestartPolicy = u.RestartPolicy
	}
	return nil
}
