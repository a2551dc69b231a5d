package core

import (
	"fmt"
	"slices"
	"strconv"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// handler is what a probe or a lifecycle hook does.
type handler struct {
	exec  *v1.ExecAction
	http  *v1.HTTPGetAction
	tcp   *v1.TCPSocketAction
	grpc  *v1.GRPCAction
	sleep *v1.SleepAction
}

func hook(h *v1.LifecycleHandler) handler {
	return handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}
}

func (c *podCheck) lifecycle(l *v1.Lifecycle, container *field.Path) {
	if l == nil {
		return
	}
	path := container.Child("lifecycle")
	if l.PostStart != nil {
		c.handler(hook(l.PostStart), path.Child("postStart"))
	}
	if l.PreStop != nil {
		c.handler(hook(l.PreStop), path.Child("preStop"))
	}
	if l.StopSignal != nil {
		c.stopSignal(*l.StopSignal, path.Child("stopSignal"))
	}
}

func (c *podCheck) stopSignal(s v1.Signal, path *field.Path) {
	switch os := c.spec.OS; {
	case os == nil:
		c.Forbidden(path, "may not be set for containers with empty `spec.os.name`")
	case os.Name == v1.Windows:
		rules.Supported(&c.List, path, s, "SIGKILL", "SIGTERM")
	case os.Name == v1.Linux:
		rules.Supported(&c.List, path, s, linuxSignals()...)
	}
}

func linuxSignals() []v1.Signal {
	out := []v1.Signal{"SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL",
		"SIGINT", "SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV", "SIGSTKFLT",
		"SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2",
		"SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "SIGRTMIN", "SIGRTMAX"}
	for i := 1; i <= 15; i++ {
		out = append(out, v1.Signal("SIGRTMIN+"+strconv.Itoa(i)))
		if i < 15 {
			out = append(out, v1.Signal("SIGRTMAX-"+strconv.Itoa(i)))
		}
	}
	slices.Sort(out)
	return out
}

// probes judges the probes that containers and sidecars may have.
func (c *podCheck) probes(ctr *v1.Container, path *field.Path) {
	if p := ctr.LivenessProbe; p != nil {
		c.probe(p, path.Child("livenessProbe"))
		if p.SuccessThreshold != 1 {
			c.Invalid(path.Child("livenessProbe", "successThreshold"), p.SuccessThreshold, "must be 1")
		}
	}
	if p := ctr.ReadinessProbe; p != nil {
		c.probe(p, path.Child("readinessProbe"))
		if p.TerminationGracePeriodSeconds != nil {
			c.Invalid(path.Child("readinessProbe", "terminationGracePeriodSeconds"), p.TerminationGracePeriodSeconds, "must not be set for readinessProbes")
		}
	}
	if p := ctr.StartupProbe; p != nil {
		c.probe(p, path.Child("startupProbe"))
		if p.SuccessThreshold != 1 {
			c.Invalid(path.Child("startupProbe", "successThreshold"), p.SuccessThreshold, "must be 1")
		}
	}
}

func (c *podCheck) probe(p *v1.Probe, path *field.Path) {
	c.handler(handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}, path)
	c.Add(rules.NonNegative(int64(p.InitialDelaySeconds), path.Child("initialDelaySeconds"))...)
	c.Add(rules.NonNegative(int64(p.TimeoutSeconds), path.Child("timeoutSeconds"))...)
	c.Add(rules.NonNegative(int64(p.PeriodSeconds), path.Child("periodSeconds"))...)
	c.Add(rules.NonNegative(int64(p.SuccessThreshold), path.Child("successThreshold"))...)
	c.Add(rules.NonNegative(int64(p.FailureThreshold), path.Child("failureThreshold"))...)
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		c.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
	}
}

// handler wants exactly one action; of several the first is judged.
func (c *podCheck) handler(h handler, path *field.Path) {
	found := false
	one := func(set bool, name string, check func(*field.Path)) {
		switch {
		case !set:
		case found:
			c.Forbidden(path.Child(name), "may not specify more than 1 handler type")
		default:
			found = true
			check(path.Child(name))
		}
	}
	one(h.exec != nil, "exec", func(at *field.Path) {
		if len(h.exec.Command) == 0 {
			c.Required(at.Child("command"), "")
		}
	})
	one(h.http != nil, "httpGet", func(at *field.Path) { c.httpGet(h.http, at) })
	one(h.tcp != nil, "tcpSocket", func(at *field.Path) { c.Add(rules.PortOrName(h.tcp.Port, at.Child("port"))...) })
	one(h.grpc != nil, "grpc", func(at *field.Path) {
		c.Add(rules.PortOrName(intstr.FromInt32(h.grpc.Port), at.Child("port"))...)
	})
	one(h.sleep != nil, "sleep", func(at *field.Path) {
		if grace := c.spec.TerminationGracePeriodSeconds; grace != nil && (h.sleep.Seconds < 0 || h.sleep.Seconds > *grace) {
			c.Invalid(at, h.sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))
		}
	})
	if !found {
		c.Required(path, "must specify a handler type")
	}
}

func (c *podCheck) httpGet(h *v1.HTTPGetAction, path *field.Path) {
	c.Need(path, "path", h.Path)
	c.Add(rules.PortOrName(h.Port, path.Child("port"))...)
	rules.Supported(&c.List, path.Child("scheme"), h.Scheme, v1.URISchemeHTTP, v1.URISchemeHTTPS)
	for _, header := range h.HTTPHeaders {
		c.Messages(path.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))
	}
}
