import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.distribution.pause.NoPauseDetector;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.util.concurrent.TimeUnit;

/**
 * A service that measures the steps of each job in a registry of the job's own, reports
 * the figures at its end and lets the registry go.
 *
 * The pinned Micrometer looks out for pauses of the JVM by default: the first timer of a
 * registry starts a detector with two threads, and closing the registry ends neither of
 * them. They keep the timers of all the jobs there have been.
 */
public class Driver {
    static final String[] STEPS = {"fetch", "unpack", "parse", "check", "join", "sort", "price", "round", "store", "index", "notify", "clean"};

    static double runJob(long number, boolean safe) {
        SimpleMeterRegistry registry = new SimpleMeterRegistry();
        if (safe) registry.config().pauseDetector(new NoPauseDetector());
        double total = 0;
        for (String step : STEPS) {
            Timer timer = Timer.builder("job.step").tag("step", step).register(registry);
            for (int i = 0; i < 5; i++) timer.record(100 + (number + i) % 50, TimeUnit.MICROSECONDS);
            total += timer.totalTime(TimeUnit.MILLISECONDS);
        }
        registry.close();
        return total;
    }

    public static void main(String[] args) throws Exception {
        double rate = 5, duration = 120;
        boolean safe = false;
        for (int i = 0; i < args.length; i++) {
            if (args[i].equals("--rate")) rate = Double.parseDouble(args[++i]);
            else if (args[i].equals("--duration")) duration = Double.parseDouble(args[++i]);
            else if (args[i].equals("--safe")) safe = true;
        }
        long end = System.nanoTime() + (long) (duration * 1e9);
        long next = System.nanoTime();
        long done = 0;
        double total = 0;
        while (System.nanoTime() < end) {
            total += runJob(done, safe);
            done++;
            next += (long) (1e9 / rate);
            long pause = (next - System.nanoTime()) / 1_000_000;
            if (pause > 0) Thread.sleep(pause);
        }
        System.out.println("done " + done + ", ms " + total);
        System.exit(0);
    }
}
