// Package lifecycle holds the decisions about one pod, as pure functions: what to
// do next (Plan) and what to report (Status). Neither reads a clock, a disk or the
// network: package node observes, asks, and acts. The rules are those of the
// kubelet's pod workers and container manager
// (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/).
package lifecycle

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State of the newest instance of a container.
type State string

// None: no instance exists. Created: it exists and has not run yet.
const (
	None    State = ""
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
)

// Observed is what package node knows about one pod at one moment.
type Observed struct {
	// SandboxReady: namespaces, network and volumes are there.
	SandboxReady bool
	// HadSandbox: they were there at some time.
	HadSandbox bool
	// Busy: a set-up, or the start of a container, is under way. Starts of one pod
	// come one after the other, each after the postStart hook of the one before.
	Busy bool
	// RetrySetup is when a failed set-up may be tried again.
	RetrySetup time.Time
	// TornDown: network and volumes have been taken away for good.
	TornDown bool

	IPs, HostIPs []string
	StartTime    time.Time

	Containers map[string]*Container

	// Gone: the API object does not exist any more.
	Gone bool
	// Failure, once set, ends the pod: rejected, evicted, past its deadline.
	Failure *Failure
	// Grace is what the pod was given to end when it began to end.
	Ending *Ending
}

// Failure is why the node ends a pod for good.
type Failure struct {
	Reason, Message string
	// Rejected pods never ran: their containers are not reported.
	Rejected bool
	// Grace is what the pod gets to end, where not its own.
	Grace *time.Duration
	// Condition is set True with the reason given, where not nil (DisruptionTarget).
	Condition *v1.PodCondition
}

// Ending of a pod that is being stopped.
type Ending struct {
	Since time.Time
	Grace time.Duration
}

// Container is what is known of one container of the spec.
type Container struct {
	ID      string
	State   State
	Attempt int // of the newest instance, 0 the first: the restart count
	Image   string
	ImageID string

	StartedAt, FinishedAt time.Time
	ExitCode              int
	Reason                string // of the exit: Completed, Error, OOMKilled, ...
	Message               string // termination message

	// Stale: the newest instance belonged to a sandbox that is gone. Init containers
	// have to run again then.
	Stale bool

	// Last is the instance before the newest.
	Last *v1.ContainerStateTerminated

	Starting bool // pull, create, start or postStart under way
	Stopping bool
	StopBy   time.Time // when a Stopping container will be killed

	Started bool // startup probe passed, or there is none
	Ready   bool // readiness probe passed, or there is none
	// Unhealthy is the probe that condemned the running instance ("liveness",
	// "startup"), or "".
	Unhealthy string
	// UnhealthyGrace is the probe's own terminationGracePeriodSeconds.
	UnhealthyGrace *int64

	// Waiting is why the next instance does not run, where that is known.
	Waiting *v1.ContainerStateWaiting
	// SettleAt is when the reason of a failed start gives way to the back-off that
	// followed it (ErrImagePull to ImagePullBackOff, RunContainerError to
	// CrashLoopBackOff); zero when it has.
	SettleAt time.Time
	// Announced: the event of the present crash loop back-off has been sent.
	Announced bool
	// NotBefore is the earliest time of the next try to start.
	NotBefore time.Time
	Crash     Backoff
	// CrashBefore is Crash without the try that Waiting tells of.
	CrashBefore Backoff

	Resources *v1.ResourceRequirements // as applied
	User      *v1.ContainerUser
	Hash      string // of the spec that the instance was made from
}

// Verb of an Action.
type Verb string

// Verbs. Setup makes volumes, sandbox and network. Start makes and starts the next
// instance. Settle moves a failed start to its back-off. Announce tells of a crash
// loop. Stop runs preStop, stops within Grace.
// Teardown takes network and volumes away. Finish removes every trace and, last,
// the API object.
const (
	Setup    Verb = "setup"
	Start    Verb = "start"
	Settle   Verb = "settle"
	Announce Verb = "announce"
	Stop     Verb = "stop"
	Teardown Verb = "teardown"
	Finish   Verb = "finish"
)

// Action is one thing to do now.
type Action struct {
	Verb      Verb
	Container string
	Attempt   int
	Grace     time.Duration
	Reason    string // machine word for a Stop
	Message   string // of the Killing event
}

// Decision is the answer of Plan.
type Decision struct {
	Actions []Action
	// Wake is when to ask again though nothing happened; zero is never.
	Wake time.Time
	// Failure, when not nil, is to be kept in Observed.
	Failure *Failure
}

func (d *Decision) add(a Action) { d.Actions = append(d.Actions, a) }

func (d *Decision) wake(t time.Time) {
	if d.Wake.IsZero() || t.Before(d.Wake) {
		d.Wake = t
	}
}

// Crash loop back-off, as the kubelet's: 10 s doubling to 5 min, forgotten after a
// run of 10 min.
const (
	backoffInitial = 10 * time.Second
	backoffMax     = 300 * time.Second
)

// Backoff of one container.
type Backoff struct {
	Delay   time.Duration
	Updated time.Time
}

// Next is the back-off after one more try at now.
func (b Backoff) Next(now time.Time) Backoff {
	d := b.Delay * 2
	if b.Delay == 0 || now.Sub(b.Updated) > 2*backoffMax {
		d = backoffInitial
	}
	return Backoff{Delay: min(d, backoffMax), Updated: now}
}

// Until is when a try after an event at since may come.
func (b Backoff) Until(since time.Time) time.Time {
	if b.Delay == 0 || since.Sub(b.Updated) > 2*backoffMax {
		return since
	}
	return since.Add(b.Delay)
}

// Kind of a container within its pod.
type Kind int

// Kinds of containers.
const (
	Regular Kind = iota
	Init
	Sidecar // an init container with restartPolicy Always
	Ephemeral
)

// KindOf tells the kind of an init container.
func KindOf(c *v1.Container) Kind {
	if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
		return Sidecar
	}
	return Init
}

// Find returns the container of that name as a plain container.
func Find(pod *v1.Pod, name string) (*v1.Container, Kind, bool) {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i], Regular, true
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.Name == name {
			return c, KindOf(c), true
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name {
			c := v1.Container(e.EphemeralContainerCommon)
			return &c, Ephemeral, true
		}
	}
	return nil, Regular, false
}

// ShouldRestart tells whether a container that ended with exitCode is to run again
// while its pod lives: the first matching restart rule, else the container's own
// policy, else the pod's (KEP-5307).
func ShouldRestart(pod *v1.Pod, c *v1.Container, k Kind, exitCode int) bool {
	if k == Ephemeral {
		return false
	}
	for _, r := range c.RestartPolicyRules {
		if r.Action == v1.ContainerRestartRuleActionRestart && ruleMatches(r, exitCode) {
			return true
		}
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = v1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case v1.RestartPolicyNever:
		return false
	case v1.RestartPolicyOnFailure:
		return exitCode != 0
	}
	// An init container is done when it succeeded, whatever the pod's policy.
	return k != Init || exitCode != 0
}

func ruleMatches(r v1.ContainerRestartRule, code int) bool {
	if r.ExitCodes == nil {
		return false
	}
	in := false
	for _, v := range r.ExitCodes.Values {
		in = in || int(v) == code
	}
	if r.ExitCodes.Operator == v1.ContainerRestartRuleOnExitCodesOpNotIn {
		return !in
	}
	return in
}

// Terminated renders the newest instance's end.
func (c *Container) Terminated() *v1.ContainerStateTerminated {
	t := &v1.ContainerStateTerminated{
		ExitCode: int32(c.ExitCode), Reason: c.Reason, Message: c.Message,
		StartedAt: seconds(c.StartedAt), FinishedAt: seconds(c.FinishedAt),
	}
	if t.Reason == "" {
		t.Reason = "Completed"
		if c.ExitCode != 0 {
			t.Reason = "Error"
		}
	}
	if c.ID != "" {
		t.ContainerID = "containerd://" + c.ID
	}
	return t
}

func (o *Observed) get(name string) *Container {
	if c := o.Containers[name]; c != nil {
		return c
	}
	return &Container{}
}

// seconds is a time as the API keeps it, so that what is computed equals what was
// read back.
func seconds(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }
