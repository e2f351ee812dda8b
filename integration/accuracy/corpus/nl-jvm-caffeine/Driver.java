import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * A profile service with a bounded cache in front of a slow source.
 *
 * Some users come back all the time, many only now and then, so the cache takes more
 * than a minute to fill. Then it throws out one profile for each that it takes in.
 */
public class Driver {
    static final int MAX = 10_000;
    static final int USERS = 1_000_000;

    record Profile(int user, List<String> lines) {}

    static Profile load(int user) {
        List<String> lines = new ArrayList<>();
        for (int i = 0; i < 8; i++) lines.add("user " + user + " has seen the page number " + (user * 31L + i));
        return new Profile(user, lines);
    }

    public static void main(String[] args) throws Exception {
        double rate = 100, duration = 120;
        boolean safe = false;
        for (int i = 0; i < args.length; i++) {
            if (args[i].equals("--rate")) rate = Double.parseDouble(args[++i]);
            else if (args[i].equals("--duration")) duration = Double.parseDouble(args[++i]);
            else if (args[i].equals("--safe")) safe = true;
        }
        Cache<Integer, Profile> cache = Caffeine.newBuilder().maximumSize(MAX).recordStats().build();
        Random random = new Random(5);
        long end = System.nanoTime() + (long) (duration * 1e9);
        long next = System.nanoTime();
        long done = 0, lines = 0;
        while (System.nanoTime() < end) {
            // In the control nobody comes but the regular users.
            int range = safe || random.nextInt(10) < 5 ? 500 : USERS;
            lines += cache.get(random.nextInt(range), Driver::load).lines().size();
            done++;
            next += (long) (1e9 / rate);
            long pause = (next - System.nanoTime()) / 1_000_000;
            if (pause > 0) Thread.sleep(pause);
        }
        cache.cleanUp();
        System.out.println("done " + done + ", kept " + cache.estimatedSize() + ", " + cache.stats());
    }
}
