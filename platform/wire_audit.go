package platform

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"skiff.dev/skiff/apiserver/audit"
	"skiff.dev/skiff/auth/webhook"
)

// auditConfig are the flags of the audit log.
type auditConfig struct {
	policy  string
	log     audit.FileOptions
	logMode string
	logTo   audit.BatchOptions
	hook    string // a kubeconfig
	hookTo  audit.BatchOptions
	mode    string
	backoff time.Duration
}

const (
	modeBatch    = "batch"
	modeBlocking = "blocking"
	modeStrict   = "blocking-strict"
)

var auditModes = []string{modeBatch, modeBlocking, modeStrict}

func (c *auditConfig) flags(fs *pflag.FlagSet) {
	fs.StringVar(&c.policy, "audit-policy-file", "", "file of an audit policy (audit.k8s.io/v1): what is recorded of which request")
	fs.StringVar(&c.log.Path, "audit-log-path", "", "file of the audit log; - is the standard output")
	fs.IntVar(&c.log.MaxAge, "audit-log-maxage", 366, "days that a rotated audit log is kept; 0 keeps it")
	fs.IntVar(&c.log.MaxBackups, "audit-log-maxbackup", 100, "rotated audit logs kept; 0 keeps all")
	fs.IntVar(&c.log.MaxSize, "audit-log-maxsize", 100, "megabytes at which the audit log is rotated")
	fs.BoolVar(&c.log.Compress, "audit-log-compress", false, "compress rotated audit logs")
	fs.StringVar(&c.logMode, "audit-log-mode", modeBlocking, "batch, blocking or blocking-strict: whether requests wait until they are recorded, and whether one fails that could not be")
	fs.StringVar(&c.hook, "audit-webhook-config-file", "", "kubeconfig of a webhook that audit events are posted to")
	fs.StringVar(&c.mode, "audit-webhook-mode", modeBatch, "batch, blocking or blocking-strict, as --audit-log-mode")
	fs.DurationVar(&c.backoff, "audit-webhook-initial-backoff", 10*time.Second, "how long to wait before the first retry of a webhook that fails")
	for _, b := range []struct {
		name string
		o    *audit.BatchOptions
		size int
	}{{"log", &c.logTo, 1}, {"webhook", &c.hookTo, 400}} {
		*b.o = b.o.Defaults(b.size)
		fs.IntVar(&b.o.BufferSize, "audit-"+b.name+"-batch-buffer-size", b.o.BufferSize, "events that may wait in mode batch before new ones are lost")
		fs.IntVar(&b.o.MaxSize, "audit-"+b.name+"-batch-max-size", b.o.MaxSize, "events in a batch")
		fs.DurationVar(&b.o.MaxWait, "audit-"+b.name+"-batch-max-wait", b.o.MaxWait, "how long a batch that is not full waits for more")
	}
}

func (c *auditConfig) paths() []*string { return []*string{&c.policy, &c.log.Path, &c.hook} }

func (c *auditConfig) check() error {
	for flag, mode := range map[string]string{"audit-log-mode": c.logMode, "audit-webhook-mode": c.mode} {
		if !slices.Contains(auditModes, mode) {
			return &Fault{What: fmt.Sprintf("--%s=%s is no mode", flag, mode), Do: "give batch, blocking or blocking-strict"}
		}
	}
	for flag, n := range map[string]int{"audit-log-maxage": c.log.MaxAge, "audit-log-maxbackup": c.log.MaxBackups, "audit-log-maxsize": c.log.MaxSize} {
		if n < 0 {
			return &Fault{What: fmt.Sprintf("--%s %v can't be a negative number", flag, n), Do: "leave it out, or give 0 or more"}
		}
	}
	for flag, o := range map[string]*audit.BatchOptions{"log": &c.logTo, "webhook": &c.hookTo} {
		if o.BufferSize <= 0 || o.MaxSize <= 0 || o.MaxWait <= 0 {
			return &Fault{What: fmt.Sprintf("--audit-%s-batch-*: sizes and the wait must be more than 0", flag), Do: "leave them out for the defaults"}
		}
	}
	to := c.log.Path != "" || c.hook != ""
	switch {
	case to && c.policy == "":
		return &Fault{What: "there is somewhere to record requests, but nothing that says which", Do: "give a policy with --audit-policy-file"}
	case !to && c.policy != "":
		return &Fault{What: "--audit-policy-file says what to record, but nothing where", Do: "give --audit-log-path or --audit-webhook-config-file"}
	}
	return nil
}

// newAudit opens the audit log, nil where there is no policy.
func (p *process) newAudit() (*audit.Log, error) {
	c := &p.cfg.audit
	if c.policy == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.policy)
	if err != nil {
		return nil, fileFault("audit-policy-file", c.policy, err)
	}
	policy, err := audit.ParsePolicy(text)
	if err != nil {
		return nil, fileFault("audit-policy-file", c.policy, err)
	}
	log := &audit.Log{Policy: policy, Now: time.Now, Errors: p.tel.For("audit").Log}
	if c.log.Path != "" {
		o := c.log
		o.Strict = c.logMode == modeStrict
		s, err := audit.NewFile(o, os.Stdout)
		if err != nil {
			return nil, fileFault("audit-log-path", c.log.Path, err)
		}
		if c.logMode == modeBatch {
			s = audit.NewBatch(c.logTo, log.Errors, audit.ToSink(s))
		}
		log.Sinks = append(log.Sinks, s)
	}
	if c.hook != "" {
		caller, err := webhook.FromKubeconfig(c.hook)
		if err != nil {
			log.Close()
			return nil, fileFault("audit-webhook-config-file", c.hook, err)
		}
		log.Sinks = append(log.Sinks, audit.NewWebhook(&audit.Webhook{Client: caller.Client, URL: caller.URL, Backoff: c.backoff}, c.mode != modeBatch, c.mode == modeStrict, c.hookTo, log.Errors))
	}
	return log, nil
}
