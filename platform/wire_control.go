package platform

import (
	"context"
	"crypto/x509"
	"time"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/client"
	"skiff.dev/skiff/controllers"
	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/scheduler"
)

// startControllers runs the control plane's reconcilers and the scheduler over
// one client in this process; where servers share a store, in one of them.
func (p *process) startControllers(context.Context) (func(), error) {
	manager := p.as("system:kube-controller-manager", "kube-controller-manager", auth.GroupMasters)
	reconcile := func(ctx context.Context) error {
		env := &loop.Env{
			Client: manager,
			Cache:  p.client,
			Kinds:  p.client,
			Log:    p.tel.For("controllers").Log,
			Config: loop.Config{
				RootCA: p.pki.CA.PEM, PodCIDR: p.cfg.PodCIDR,
				AccountToken: p.identity.tokens.Issuer.Legacy,
				Schemas:      p.schemas.Document,
				Sign: func(request []byte, usage x509.KeyUsage, ext []x509.ExtKeyUsage, life time.Duration) ([]byte, error) {
					return p.pki.CA.SignRequest(request, usage, ext, life, time.Now())
				},
			},
		}
		if err := controllers.Start(ctx, env); err != nil {
			return err
		}
		<-ctx.Done()
		env.Wait()
		return nil
	}
	schedules := p.as("system:kube-scheduler", "kube-scheduler", auth.GroupMasters)
	schedule := func(ctx context.Context) error {
		sched := &scheduler.Scheduler{
			Client:   schedules,
			Cache:    p.client,
			Recorder: client.NewRecorder(schedules, "default-scheduler", p.cfg.NodeName, p.tel.For("scheduler").Log),
			Log:      p.tel.For("scheduler").Log,
		}
		return sched.Run(ctx)
	}
	p.startJobs(manager, job{"controllers", reconcile}, job{"scheduler", schedule})
	return nil, nil
}

// as is a client that writes as one of Kubernetes' components does: user is who it
// is to admission and agent what managedFields call it. Reads share one cache.
func (p *process) as(user, agent string, groups ...string) *client.Identity {
	groups = append(groups, auth.GroupAuthenticated)
	return p.client.As(p.api.InProcess(&auth.User{Name: user, Groups: groups}).Named(agent))
}
