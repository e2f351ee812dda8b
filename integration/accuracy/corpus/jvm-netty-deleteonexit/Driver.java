import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.multipart.Attribute;
import io.netty.handler.codec.http.multipart.DefaultHttpDataFactory;
import io.netty.handler.codec.http.multipart.HttpPostRequestDecoder;
import io.netty.handler.codec.http.multipart.InterfaceHttpData;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A service that takes forms with long fields and decodes them by way of the disk.
 *
 * The pinned decoder registers each temporary file with the JVM's hook for files to
 * delete at exit. The file itself is deleted after the request; its path stays in the
 * hook's list, and there is no way to take it out.
 */
public class Driver {
    static final String TEXT = "a line of the report, one of many. ".repeat(60);

    static int takeForm(DefaultHttpDataFactory factory, long number) throws Exception {
        String form = "report-of-the-department-for-the-current-period=" + number + "+" + TEXT.replace(' ', '+');
        ByteBuf body = Unpooled.copiedBuffer(form, StandardCharsets.US_ASCII);
        FullHttpRequest request = new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/report", body);
        request.headers().set(HttpHeaderNames.CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.headers().set(HttpHeaderNames.CONTENT_LENGTH, body.readableBytes());
        HttpPostRequestDecoder decoder = new HttpPostRequestDecoder(factory, request);
        int length = 0;
        for (InterfaceHttpData data : decoder.getBodyHttpDatas()) {
            length += ((Attribute) data).getValue().length();
        }
        decoder.destroy();
        factory.cleanRequestHttpData(request);
        request.release();
        return length;
    }

    public static void main(String[] args) throws Exception {
        double rate = 50, duration = 120;
        boolean safe = false;
        for (int i = 0; i < args.length; i++) {
            if (args[i].equals("--rate")) rate = Double.parseDouble(args[++i]);
            else if (args[i].equals("--duration")) duration = Double.parseDouble(args[++i]);
            else if (args[i].equals("--safe")) safe = true;
        }
        Path root = Files.createTempDirectory("report-service-");
        Path dir = Files.createDirectories(root.resolve("forms-waiting-for-the-decoder/of-the-department-of-statistics/current"));
        DefaultHttpDataFactory factory = new DefaultHttpDataFactory(true);
        factory.setBaseDir(dir.toString());
        factory.setDeleteOnExit(!safe);
        long end = System.nanoTime() + (long) (duration * 1e9);
        long next = System.nanoTime();
        long done = 0, length = 0;
        while (System.nanoTime() < end) {
            length += takeForm(factory, done);
            done++;
            next += (long) (1e9 / rate);
            long pause = (next - System.nanoTime()) / 1_000_000;
            if (pause > 0) Thread.sleep(pause);
        }
        int left = dir.toFile().list().length;
        for (Path p = dir; !p.equals(root.getParent()); p = p.getParent()) p.toFile().delete();
        System.out.println("done " + done + ", characters " + length + ", files left " + left);
        if (left > 0) System.exit(1);
    }
}
