package platform

import (
	"context"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/controllers"
	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/scheduler"
)

// startControllers runs the control plane's reconcilers and the scheduler over
// one client in this process.
func (p *process) startControllers(context.Context) (func(), error) {
	env := &loop.Env{
		Client: p.client,
		Cache:  p.client,
		Kinds:  p.client,
		Log:    p.tel.For("controllers").Log,
		Config: loop.Config{RootCA: p.pki.CA.PEM, PodCIDR: p.cfg.PodCIDR},
	}
	p.component("controllers", func(ctx context.Context) error {
		if err := controllers.Start(ctx, env); err != nil {
			return err
		}
		<-ctx.Done()
		env.Wait()
		return nil
	})
	sched := &scheduler.Scheduler{
		Client:   p.client,
		Cache:    p.client,
		Recorder: client.NewRecorder(p.client, "default-scheduler", "", p.tel.For("scheduler").Log),
		Log:      p.tel.For("scheduler").Log,
	}
	p.component("scheduler", sched.Run)
	return nil, nil
}
