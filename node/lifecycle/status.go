package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of waiting containers that the kubelet gives by default.
const (
	ContainerCreating = "ContainerCreating"
	PodInitializing   = "PodInitializing"
	CrashLoopBackOff  = "CrashLoopBackOff"
)

// Status renders what is observed as the pod's status. Parts that others write
// (conditions of readiness gates and of the scheduler, the QoS class) are kept
// from pod.Status.
func Status(pod *v1.Pod, o *Observed, now time.Time) v1.PodStatus {
	old := &pod.Status
	s := v1.PodStatus{
		QOSClass: old.QOSClass, NominatedNodeName: old.NominatedNodeName, Resize: old.Resize,
		ResourceClaimStatuses: old.ResourceClaimStatuses, ObservedGeneration: pod.Generation,
		AllocatedResources: old.AllocatedResources, Resources: old.Resources,
		ExtendedResourceClaimStatus: old.ExtendedResourceClaimStatus,
		StartTime:                   old.StartTime,
	}
	if !o.StartTime.IsZero() && (s.StartTime == nil || !s.StartTime.Time.Equal(o.StartTime.Truncate(time.Second))) {
		t := seconds(o.StartTime)
		s.StartTime = &t
	}
	for i, ip := range o.HostIPs {
		if i == 0 {
			s.HostIP = ip
		}
		s.HostIPs = append(s.HostIPs, v1.HostIP{IP: ip})
	}
	for i, ip := range o.IPs {
		if i == 0 {
			s.PodIP = ip
		}
		s.PodIPs = append(s.PodIPs, v1.PodIP{IP: ip})
	}
	ended := ended(pod, o)
	if o.Failure == nil || !o.Failure.Rejected {
		for i := range pod.Spec.InitContainers {
			c := &pod.Spec.InitContainers[i]
			s.InitContainerStatuses = append(s.InitContainerStatuses, containerStatus(pod, c, KindOf(c), o, ended, now))
		}
		for i := range pod.Spec.Containers {
			s.ContainerStatuses = append(s.ContainerStatuses, containerStatus(pod, &pod.Spec.Containers[i], Regular, o, ended, now))
		}
		for i := range pod.Spec.EphemeralContainers {
			c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, containerStatus(pod, &c, Ephemeral, o, ended, now))
		}
	}
	s.Phase = phase(pod, o, ended)
	if o.Failure != nil {
		s.Reason, s.Message = o.Failure.Reason, o.Failure.Message
	}
	// A phase that has been terminal stays.
	if old.Phase == v1.PodSucceeded || old.Phase == v1.PodFailed {
		s.Phase = old.Phase
	}
	conditions(pod, o, &s, now)
	return s
}

// ended: the pod was told to end, and nothing of it runs any more.
func ended(pod *v1.Pod, o *Observed) bool {
	return (pod.DeletionTimestamp != nil || o.Gone || o.Failure != nil) && quiet(o)
}

func containerStatus(pod *v1.Pod, c *v1.Container, k Kind, o *Observed, ended bool, now time.Time) v1.ContainerStatus {
	st := o.get(c.Name)
	out := v1.ContainerStatus{
		Name: c.Name, RestartCount: int32(st.Attempt), Image: st.Image, ImageID: st.ImageID,
		Resources: st.Resources, User: st.User,
	}
	if out.Image == "" {
		out.Image = c.Image
	}
	if st.ID != "" {
		out.ContainerID = "containerd://" + st.ID
	}
	if st.Resources != nil {
		out.AllocatedResources = c.Resources.Requests.DeepCopy()
	}
	if st.State != None {
		out.VolumeMounts = volumeMounts(c)
	}
	if st.Last != nil {
		out.LastTerminationState.Terminated = st.Last
	}
	started := st.State == Running && st.Started && !st.Starting
	switch st.State {
	case Running:
		out.State.Running = &v1.ContainerStateRunning{StartedAt: seconds(st.StartedAt)}
	case Exited:
		t := st.Terminated()
		if st.Starting || ended || !ShouldRestart(pod, c, k, st.ExitCode) || o.Failure != nil || pod.DeletionTimestamp != nil {
			out.State.Terminated = t
			break
		}
		// The next instance is waited for. Before a first back-off the kubelet shows
		// the end itself.
		if w := waitingAgain(pod, c, st, now); w != nil {
			out.State.Waiting = w
			out.LastTerminationState.Terminated = t
		} else {
			out.State.Terminated = t
		}
	default:
		switch {
		case st.Waiting != nil:
			out.State.Waiting = st.Waiting.DeepCopy()
		case k != Ephemeral && len(pod.Spec.InitContainers) > 0 && !initialised(pod, o):
			out.State.Waiting = &v1.ContainerStateWaiting{Reason: PodInitializing}
		default:
			out.State.Waiting = &v1.ContainerStateWaiting{Reason: ContainerCreating}
		}
		if ended && o.HadSandbox {
			// The kubelet cannot tell any more and says so.
			out.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
				ExitCode: 137, Reason: "ContainerStatusUnknown",
				Message: "The container could not be located when the pod was terminated",
			}}
		}
	}
	switch k {
	case Init:
		out.Ready = st.State == Exited && st.ExitCode == 0
	case Ephemeral:
	default:
		out.Ready = started && st.Ready
	}
	out.Started = &started
	return out
}

func waitingAgain(pod *v1.Pod, c *v1.Container, st *Container, now time.Time) *v1.ContainerStateWaiting {
	if st.Waiting != nil {
		return st.Waiting.DeepCopy()
	}
	if at := st.Crash.Until(st.FinishedAt); now.Before(at) {
		return &v1.ContainerStateWaiting{Reason: CrashLoopBackOff, Message: CrashMessage(pod, c.Name, st.Crash.Delay)}
	}
	return nil
}

// CrashMessage is the kubelet's text for a container that waits in a crash loop.
func CrashMessage(pod *v1.Pod, container string, d time.Duration) string {
	return fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", d, container, pod.Name, pod.Namespace, pod.UID)
}

func volumeMounts(c *v1.Container) []v1.VolumeMountStatus {
	var out []v1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		st := v1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := v1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != v1.RecursiveReadOnlyDisabled {
				mode = v1.RecursiveReadOnlyEnabled
			}
			st.RecursiveReadOnly = &mode
		}
		out = append(out, st)
	}
	return out
}

// initialised: every init container has done its part.
func initialised(pod *v1.Pod, o *Observed) bool { return len(uninitialised(pod, o)) == 0 }

func uninitialised(pod *v1.Pod, o *Observed) []string {
	if begun(pod, o) {
		return nil
	}
	var names []string
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := o.get(c.Name)
		ok := s.State == Exited && s.ExitCode == 0
		if KindOf(c) == Sidecar {
			ok = s.State == Running && s.Started && !s.Starting
		}
		if !ok {
			names = append(names, c.Name)
		}
	}
	return names
}

// phase is the kubelet's getPhase: terminal only when nothing runs any more.
func phase(pod *v1.Pod, o *Observed, ended bool) v1.PodPhase {
	if o.Failure != nil && (ended || o.Failure.Rejected) {
		return v1.PodFailed
	}
	if !ended && !initialised(pod, o) {
		if finished(pod, o) && quiet(o) {
			return v1.PodFailed
		}
		return v1.PodPending
	}
	running, stopped, succeeded, waiting, again := 0, 0, 0, 0, 0
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		s := o.get(c.Name)
		switch {
		case s.State == Running:
			running++
		case s.State == Exited:
			stopped++
			if s.ExitCode == 0 {
				succeeded++
			}
			if ShouldRestart(pod, c, Regular, s.ExitCode) {
				again++
			}
		case s.Last != nil:
			stopped++
			again++
		default:
			waiting++
		}
	}
	sidecars := false
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		sidecars = sidecars || o.get(c.Name).State == Running
	}
	switch {
	case ended && stopped+waiting == len(pod.Spec.Containers) && pod.DeletionTimestamp != nil && stopped == 0:
		if o.HadSandbox {
			return v1.PodFailed
		}
		return v1.PodPending
	case ended:
		if waiting == 0 && stopped == succeeded {
			return v1.PodSucceeded
		}
		return v1.PodFailed
	case waiting > 0:
		return v1.PodPending
	case running > 0 || again > 0 || sidecars:
		return v1.PodRunning
	case stopped == succeeded:
		return v1.PodSucceeded
	}
	return v1.PodFailed
}

// conditions fills in the kubelet's conditions, in its order, and keeps others.
func conditions(pod *v1.Pod, o *Observed, s *v1.PodStatus, now time.Time) {
	terminal := s.Phase == v1.PodSucceeded || s.Phase == v1.PodFailed
	completed := ""
	switch s.Phase {
	case v1.PodSucceeded:
		completed = "PodCompleted"
	case v1.PodFailed:
		completed = "PodFailed"
	}
	var notInit []string
	if s.Phase != v1.PodSucceeded {
		notInit = uninitialised(pod, o)
	}
	initialized := condition(v1.PodInitialized, len(notInit) == 0, "", "")
	if len(notInit) > 0 {
		initialized = condition(v1.PodInitialized, false, "ContainersNotInitialized",
			fmt.Sprintf("containers with incomplete status: %s", list(notInit)))
	} else if s.Phase == v1.PodSucceeded {
		initialized.Reason = "PodCompleted"
	}
	var unready []string
	if !terminal {
		for _, cs := range append(slices.Clone(sidecarStatuses(pod, s)), s.ContainerStatuses...) {
			if !cs.Ready {
				unready = append(unready, cs.Name)
			}
		}
	}
	containers := condition(v1.ContainersReady, true, "", "")
	switch {
	case terminal:
		containers = condition(v1.ContainersReady, false, completed, "")
	case len(unready) > 0:
		containers = condition(v1.ContainersReady, false, "ContainersNotReady",
			fmt.Sprintf("containers with unready status: %s", list(unready)))
	}
	ready := containers
	ready.Type = v1.PodReady
	if ready.Status == v1.ConditionTrue {
		if msgs := gates(pod); len(msgs) > 0 {
			ready = condition(v1.PodReady, false, "ReadinessGatesNotReady", strings.Join(msgs, ", "))
		}
	}
	mine := []v1.PodCondition{
		condition(v1.PodReadyToStartContainers, o.SandboxReady && !o.TornDown, "", ""),
		initialized, ready, containers,
		condition(v1.PodScheduled, true, "", ""),
	}
	if o.Failure != nil && o.Failure.Condition != nil {
		mine = append(mine, *o.Failure.Condition)
	}
	s.Conditions = merge(pod, mine, now)
}

func sidecarStatuses(pod *v1.Pod, s *v1.PodStatus) []v1.ContainerStatus {
	var out []v1.ContainerStatus
	for i := range s.InitContainerStatuses {
		if i < len(pod.Spec.InitContainers) && KindOf(&pod.Spec.InitContainers[i]) == Sidecar {
			out = append(out, s.InitContainerStatuses[i])
		}
	}
	return out
}

func gates(pod *v1.Pod) []string {
	var msgs []string
	for _, g := range pod.Spec.ReadinessGates {
		i := slices.IndexFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == g.ConditionType })
		if i < 0 {
			msgs = append(msgs, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType))
		} else if pod.Status.Conditions[i].Status != v1.ConditionTrue {
			msgs = append(msgs, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", g.ConditionType, pod.Status.Conditions[i].Status))
		}
	}
	return msgs
}

func condition(t v1.PodConditionType, ok bool, reason, message string) v1.PodCondition {
	c := v1.PodCondition{Type: t, Status: v1.ConditionTrue, Reason: reason, Message: message}
	if !ok {
		c.Status = v1.ConditionFalse
	}
	return c
}

// merge keeps times of conditions that did not change, and conditions of others.
func merge(pod *v1.Pod, mine []v1.PodCondition, now time.Time) []v1.PodCondition {
	old := pod.Status.Conditions
	out := make([]v1.PodCondition, 0, len(mine)+len(old))
	for _, c := range mine {
		c.ObservedGeneration = pod.Generation
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		i := slices.IndexFunc(old, func(p v1.PodCondition) bool { return p.Type == c.Type })
		if i >= 0 {
			if c.Type == v1.PodScheduled {
				c = old[i]
			} else if old[i].Status == c.Status {
				c.LastTransitionTime = old[i].LastTransitionTime
			}
		}
		out = append(out, c)
	}
	for _, p := range old {
		if !slices.ContainsFunc(mine, func(c v1.PodCondition) bool { return c.Type == p.Type }) {
			out = append(out, p)
		}
	}
	return out
}

func list(names []string) string { return "[" + strings.Join(names, " ") + "]" }
