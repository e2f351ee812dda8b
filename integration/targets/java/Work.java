// For each line a fixed amount of work on collections and strings; prints the seconds of time it took.

import java.util.HashMap;
import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;

final class Work {
    private static int work(int seed) {
        Map<String, Integer> counts = new HashMap<>();
        for (int n = 0; n < 100_000; n++) {
            counts.merge("customer " + (n * 7919L + seed) % 5000, 1, Integer::sum);
        }
        StringBuilder text = new StringBuilder();
        new TreeMap<>(counts).forEach((name, count) -> text.append(name).append('=').append(count));
        return text.toString().hashCode();
    }

    public static void main(String[] arguments) {
        int sum = 0;
        for (int n = 0; n < 30; n++) {
            sum += work(n);
        }
        System.out.println("ready");
        Scanner input = new Scanner(System.in);
        while (input.hasNextLine()) {
            input.nextLine();
            long begin = System.nanoTime();
            for (int n = 0; n < 15; n++) {
                sum += work(n);
            }
            System.out.println((System.nanoTime() - begin) / 1e9);
        }
        if (sum == 42) {
            System.out.println(sum);
        }
    }
}
